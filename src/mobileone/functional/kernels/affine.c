/* relu(a (y − m) + c (x − k) + b), with a, m, c, k and b per channel: what a unit with one convolution branch
   computes of y, its convolution, and x, its input. Forward and backward in one pass over memory each.

   Tensors are (rows, channels); x and its constants may be NULL. REAL is float or double. Work is cut by
   shape alone, so results do not depend on the number of threads. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 64, CHUNK = 256 };

typedef struct {
    const REAL *y, *mean_y, *a; /* a, and the others, are (channels,) */
    const REAL *x, *mean_x, *c;
    const REAL *b;
    int64_t rows, channels, relu;
} Affine;

#define INLINE static inline __attribute__((always_inline))

int affine(const Affine *p, REAL *out) {
    const int64_t channels = p->channels;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < p->rows; r++) {
        const REAL *restrict y = p->y + r * channels, *restrict x = p->x ? p->x + r * channels : NULL;
        REAL *restrict to = out + r * channels;
        if (x)
            for (int64_t i = 0; i < channels; i++)
                to[i] = p->a[i] * (y[i] - p->mean_y[i]) + p->c[i] * (x[i] - p->mean_x[i]) + p->b[i];
        else
            for (int64_t i = 0; i < channels; i++) to[i] = p->a[i] * (y[i] - p->mean_y[i]) + p->b[i];
        if (p->relu) /* NaN stays NaN */
            for (int64_t i = 0; i < channels; i++) to[i] = to[i] < 0 ? 0 : to[i];
    }
    return 0;
}

INLINE void block_sums(const Affine *p, const REAL *grad, const REAL *out, int64_t first, int64_t last, int64_t at,
                       int64_t width, double *sums) {
    const REAL floor = p->relu ? 0 : -INFINITY; /* without ReLU every value passes */
    REAL g_sum[BLOCK] = {0}, y_sum[BLOCK] = {0}, x_sum[BLOCK] = {0}, mean_y[BLOCK], mean_x[BLOCK];
    memcpy(mean_y, p->mean_y + at, width * sizeof(REAL));
    if (p->x) memcpy(mean_x, p->mean_x + at, width * sizeof(REAL));
    for (int64_t r = first; r < last; r++) {
        const int64_t start = r * p->channels + at;
        REAL g[BLOCK];
        for (int64_t i = 0; i < width; i++) {
            const REAL value = grad[start + i]; /* read in any case: a choice between two values, not a branch */
            g[i] = out[start + i] <= floor ? 0 : value;
        }
        for (int64_t i = 0; i < width; i++) g_sum[i] += g[i];
        for (int64_t i = 0; i < width; i++) y_sum[i] += g[i] * (p->y[start + i] - mean_y[i]);
        if (p->x)
            for (int64_t i = 0; i < width; i++) x_sum[i] += g[i] * (p->x[start + i] - mean_x[i]);
    }
    for (int64_t i = 0; i < width; i++) { /* long sums go on in double */
        sums[at + i] += g_sum[i];
        sums[p->channels + at + i] += y_sum[i];
        sums[2 * p->channels + at + i] += x_sum[i];
    }
}

/* With g the gradient behind the ReLU: Σ g, Σ g (y − mean_y), Σ g (x − mean_x).
   sums: (tasks, 3, channels), zero at the start; out is what `affine` gave. */
int affine_sums(const Affine *p, const REAL *grad, const REAL *out, double *sums, int64_t tasks) {
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        double *to = sums + task * 3 * p->channels;
        int64_t end = (task + 1) * p->rows / tasks;
        for (int64_t first = task * p->rows / tasks; first < end; first += CHUNK) {
            int64_t last = first + CHUNK < end ? first + CHUNK : end;
            int64_t at = 0;
            for (; at + BLOCK <= p->channels; at += BLOCK) block_sums(p, grad, out, first, last, at, BLOCK, to);
            if (at < p->channels) block_sums(p, grad, out, first, last, at, p->channels - at, to);
        }
    }
    return 0;
}

INLINE void row_backward(const REAL *restrict g, const REAL *restrict o, const REAL *restrict v,
                         const REAL *restrict mean, const REAL *restrict scale, const REAL *restrict slope,
                         const REAL *restrict offset, REAL *restrict t, int64_t channels, int64_t relu,
                         int accumulate) {
    const REAL floor = relu ? 0 : -INFINITY; /* without ReLU every value passes */
    for (int64_t i = 0; i < channels; i++) {
        const REAL value = g[i], passed = o[i] <= floor ? 0 : value;
        const REAL sum = scale[i] * passed + slope[i] * (v[i] - mean[i]) + offset[i];
        t[i] = accumulate ? t[i] + sum : sum;
    }
}

/* to = (or, if accumulate, +=) scale g + slope (value − mean) + offset. */
int affine_backward(const Affine *p, const REAL *grad, const REAL *out, const REAL *value, const REAL *mean,
                    const REAL *scale, const REAL *slope, const REAL *offset, REAL *to, int64_t accumulate) {
    const int64_t channels = p->channels;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < p->rows; r++) {
        const REAL *restrict g = grad + r * channels, *restrict o = out + r * channels;
        const REAL *restrict v = value + r * channels;
        REAL *restrict t = to + r * channels;
        if (accumulate)
            row_backward(g, o, v, mean, scale, slope, offset, t, channels, p->relu, 1);
        else
            row_backward(g, o, v, mean, scale, slope, offset, t, channels, p->relu, 0);
    }
    return 0;
}

INLINE void row_backward_both(const Affine *p, const REAL *restrict g, const REAL *restrict o, const REAL *restrict y,
                              const REAL *restrict x, const REAL *restrict a, const REAL *restrict c,
                              const REAL *restrict mean_y, const REAL *restrict mean_x, const REAL *restrict slope_y,
                              const REAL *restrict offset_y, const REAL *restrict slope_x,
                              const REAL *restrict offset_x, REAL *restrict to_y, REAL *restrict to_x) {
    const int64_t channels = p->channels;
    const REAL floor = p->relu ? 0 : -INFINITY;
    for (int64_t i = 0; i < channels; i++) {
        const REAL value = g[i], passed = o[i] <= floor ? 0 : value;
        to_y[i] = a[i] * passed + slope_y[i] * (y[i] - mean_y[i]) + offset_y[i];
        to_x[i] = c[i] * passed + slope_x[i] * (x[i] - mean_x[i]) + offset_x[i];
    }
}

/* Both gradients in one pass: to_y = a g + slope_y (y − mean_y) + offset_y, and to_x likewise of x. */
int affine_backward_both(const Affine *p, const REAL *grad, const REAL *out, const REAL *slope_y,
                         const REAL *offset_y, const REAL *slope_x, const REAL *offset_x, REAL *to_y, REAL *to_x) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < p->rows; r++) {
        const int64_t at = r * p->channels;
        row_backward_both(p, grad + at, out + at, p->y + at, p->x + at, p->a, p->c, p->mean_y, p->mean_x, slope_y,
                          offset_y, slope_x, offset_x, to_y + at, to_x + at);
    }
    return 0;
}

INLINE void behind_relu_block(const REAL *grad, const REAL *out, REAL *to, double *sums, int64_t first, int64_t last,
                              int64_t channels, int64_t width) {
    REAL local[BLOCK] = {0};
    for (int64_t r = first; r < last; r++) {
        const REAL *restrict g = grad + r * channels, *restrict o = out + r * channels;
        REAL *restrict t = to + r * channels;
        if (out)
            for (int64_t i = 0; i < width; i++) {
                const REAL value = g[i];
                const REAL passed = o[i] <= 0 ? 0 : value;
                t[i] = passed;
                local[i] += passed;
            }
        else
            for (int64_t i = 0; i < width; i++) local[i] += g[i];
    }
    for (int64_t i = 0; i < width; i++) sums[i] += local[i];
}

/* The gradient behind a ReLU whose result was out, (rows, channels), and its sums over the rows. Where out is NULL
   there was none, and only the sums are taken. sums: (tasks, channels), zero at the start. */
int behind_relu(const REAL *grad, const REAL *out, REAL *to, double *sums, int64_t rows, int64_t channels,
                int64_t tasks) {
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t end = (task + 1) * rows / tasks;
        for (int64_t first = task * rows / tasks; first < end; first += CHUNK) {
            int64_t last = first + CHUNK < end ? first + CHUNK : end, at = 0;
            double *sum = sums + task * channels;
            for (; at + BLOCK <= channels; at += BLOCK)
                behind_relu_block(grad + at, out ? out + at : NULL, to + at, sum + at, first, last, channels, BLOCK);
            if (at < channels)
                behind_relu_block(grad + at, out ? out + at : NULL, to + at, sum + at, first, last, channels,
                                  channels - at);
        }
    }
    return 0;
}

/* Mean and biased variance of each channel, in one pass: sums of x and of its square, less a shift near the mean.
   sums: (tasks, 2, channels), zero at the start. */
int channel_moments(const REAL *x, int64_t rows, int64_t channels, double *sums, int64_t tasks, REAL *mean,
                    REAL *var) {
    const int64_t sample = rows < BLOCK ? rows : BLOCK;
    for (int64_t c = 0; c < channels; c++) mean[c] = 0; /* holds the shift for now */
    for (int64_t r = 0; r < sample; r++)
        for (int64_t c = 0; c < channels; c++) mean[c] += x[r * channels + c] / sample;
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        double *to = sums + task * 2 * channels;
        int64_t end = (task + 1) * rows / tasks;
        for (int64_t first = task * rows / tasks; first < end; first += CHUNK) {
            int64_t last = first + CHUNK < end ? first + CHUNK : end;
            for (int64_t at = 0; at < channels; at += BLOCK) {
                const int64_t width = channels - at < BLOCK ? channels - at : BLOCK;
                REAL total[BLOCK] = {0}, square[BLOCK] = {0}, shift[BLOCK];
                memcpy(shift, mean + at, width * sizeof(REAL));
                for (int64_t r = first; r < last; r++) {
                    const REAL *restrict from = x + r * channels + at;
                    for (int64_t i = 0; i < width; i++) {
                        REAL value = from[i] - shift[i];
                        total[i] += value;
                        square[i] += value * value;
                    }
                }
                for (int64_t i = 0; i < width; i++) {
                    to[at + i] += total[i];
                    to[channels + at + i] += square[i];
                }
            }
        }
    }
    for (int64_t c = 0; c < channels; c++) {
        double total = 0, square = 0;
        for (int64_t task = 0; task < tasks; task++) {
            total += sums[task * 2 * channels + c];
            square += sums[(task * 2 + 1) * channels + c];
        }
        total /= rows;
        const double spread = square / rows - total * total;
        mean[c] += total;
        var[c] = spread < 0 ? 0 : spread; /* rounding, where x is constant */
    }
    return 0;
}
