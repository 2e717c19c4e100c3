/* Depthwise convolution over channels_last activations, and its gradients together with those of the patches'
   moments. Functions return 0, or 1 where memory is short. */

#include "ring.h"

/* ---- forward ---- */

INLINE void convolve_row(const vec *const *taps, const vec *kernel, vec bias, REAL *out, const Shape *s, int relu,
                         int num_taps, int64_t lanes) {
    for (int64_t i = 0; i < s->out_width; i++) {
        vec sum = bias;
#pragma GCC unroll 16
        for (int t = 0; t < num_taps; t++) sum += kernel[t] * taps[t][i * s->stride_w];
        if (relu) sum = (vec)(~(sum < 0) & (mask)sum); /* NaN stays NaN */
        memcpy(out + i * s->channels, &sum, lanes * sizeof(REAL));
    }
}

INLINE void convolve_images(const REAL *x, const REAL *kernels, const REAL *biases, REAL *out, const Shape *s,
                            const Ring *ring, Task task, int relu, int num_taps, int64_t lanes) {
    vec kernel[MAX_TAPS], bias = load(biases, lanes), zero = {0};
    const vec *taps[MAX_TAPS];
    for (int t = 0; t < num_taps; t++) kernel[t] = load(kernels + t * s->channels, lanes);
    for (int64_t n = task.first; n < task.last; n++) {
        const REAL *image = x + n * s->height * s->width * s->channels;
        for (int64_t y = 0, filled = 0; y < s->out_height; y++) {
            int64_t top = y * s->stride_h, end = top + s->dilation_h * (s->kernel_h - 1) + 1;
            for (filled = filled < top ? top : filled; filled < end; filled++)
                fill_row(ring, s, image, filled, zero, lanes);
            for (int t = 0; t < num_taps; t++)
                taps[t] = ring_row(ring, top + t / s->kernel_w * s->dilation_h) + t % s->kernel_w * s->dilation_w;
            REAL *row = out + (n * s->out_height + y) * s->out_width * s->channels;
            convolve_row(taps, kernel, bias, row, s, relu, num_taps, lanes);
        }
    }
}

/* out = kernel ∗ x + bias, then ReLU if asked for. kernel: (taps, channels); bias: (channels,). */
int depthwise_convolution(const REAL *x, const REAL *kernel, const REAL *bias, REAL *out, int64_t relu,
                          int64_t groups, const Shape *s) {
    int taps = s->kernel_h * s->kernel_w, failed = 0;
#pragma omp parallel for schedule(dynamic)
    for (int64_t number = 0; number < num_tasks(groups, s); number++) {
        Task task = task_of(number, groups, s);
        Ring ring = ring_new(s->dilation_h * (s->kernel_h - 1) + 1, s->width + 2 * s->pad_w, s->pad_h, s->pad_w);
        int64_t c = task.channel;
        if (!ring.data)
            failed = 1;
        else if (taps == 9 && task.lanes == LANES)
            convolve_images(x + c, kernel + c, bias + c, out + c, s, &ring, task, relu, 9, LANES);
        else
            convolve_images(x + c, kernel + c, bias + c, out + c, s, &ring, task, relu, taps, task.lanes);
        free(ring.data);
    }
    return failed;
}

/* ---- gradient of kernel and bias ---- */

INLINE void correlate_row(const vec *const *taps, const vec *grad, const Shape *s, vec *sums, int num_taps) {
    vec local[MAX_TAPS + 1];
#pragma GCC unroll 16
    for (int t = 0; t <= num_taps; t++) local[t] = sums[t];
    for (int64_t i = 0; i < s->out_width; i++) {
        vec value = grad[i];
#pragma GCC unroll 16
        for (int t = 0; t < num_taps; t++) local[t] += value * taps[t][i * s->stride_w];
        local[num_taps] += value;
    }
#pragma GCC unroll 16
    for (int t = 0; t <= num_taps; t++) sums[t] = local[t];
}

INLINE void correlate_images(const REAL *x, const REAL *shifts, const REAL *grad, const REAL *out, double *sums,
                             const Shape *s, const Ring *ring, vec *masked, Task task, int num_taps,
                             int64_t lanes) {
    vec pending[MAX_TAPS + 1], shift = load(shifts, lanes);
    const vec *taps[MAX_TAPS];
    memset(pending, 0, sizeof pending);
    for (int64_t n = task.first; n < task.last; n++) {
        const REAL *image = x + n * s->height * s->width * s->channels;
        for (int64_t y = 0, filled = 0; y < s->out_height; y++) {
            int64_t top = y * s->stride_h, end = top + s->dilation_h * (s->kernel_h - 1) + 1;
            int64_t at = (n * s->out_height + y) * s->out_width * s->channels;
            for (filled = filled < top ? top : filled; filled < end; filled++)
                fill_row(ring, s, image, filled, shift, lanes);
            fill_gradient(masked, 1, grad + at, out ? out + at : NULL, s, lanes);
            for (int t = 0; t < num_taps; t++)
                taps[t] = ring_row(ring, top + t / s->kernel_w * s->dilation_h) + t % s->kernel_w * s->dilation_w;
            correlate_row(taps, masked, s, pending, num_taps);
        }
        for (int k = 0; k <= num_taps; k++) { /* long sums go on in double */
            for (int64_t c = 0; c < lanes; c++) sums[k * s->channels + c] += pending[k][c];
            pending[k] = (vec){0};
        }
    }
}

/* With g the gradient behind the ReLU: sums over outputs of g · (tap − shift) for each tap, then of g.
   sums: (groups, taps + 1, channels), zero at the start; out is the result, NULL without ReLU. */
int depthwise_kernel_gradient(const REAL *x, const REAL *shift, const REAL *grad, const REAL *out, double *sums,
                              int64_t groups, const Shape *s) {
    int taps = s->kernel_h * s->kernel_w, failed = 0;
#pragma omp parallel for schedule(dynamic)
    for (int64_t number = 0; number < num_tasks(groups, s); number++) {
        Task task = task_of(number, groups, s);
        Ring ring = ring_new(s->dilation_h * (s->kernel_h - 1) + 1, s->width + 2 * s->pad_w, s->pad_h, s->pad_w);
        vec *masked = aligned_alloc(64, s->out_width * sizeof(vec));
        int64_t c = task.channel;
        double *to = sums + task.group * (taps + 1) * s->channels + c;
        const REAL *result = out ? out + c : NULL;
        if (!ring.data || !masked)
            failed = 1;
        else if (taps == 9 && task.lanes == LANES)
            correlate_images(x + c, shift + c, grad + c, result, to, s, &ring, masked, task, 9, LANES);
        else
            correlate_images(x + c, shift + c, grad + c, result, to, s, &ring, masked, task, taps, task.lanes);
        free(ring.data);
        free(masked);
    }
    return failed;
}

/* ---- gradient of the input, through the moments ---- */

/* A pixel is tap t of some patches and not of others: that depends on its row's and its column's class
   alone. Within a class its gradient is one stencil of the pixels around it, over all lags t' − t. */
typedef struct {
    int64_t rows, columns;                           /* numbers of classes */
    const int64_t *row_class, *column_class;         /* of each row and column of the image */
    const int64_t *row_taps, *column_taps;           /* of each class: a bit for each tap its pixels can be */
} Classes;

/* Every class's stencil, (rows, columns, lags + 1), the last element a constant: a pixel that can be tap t
   gets slopes[t, u] at lag u − t and offsets[t]. */
INLINE void fill_stencils(vec *stencils, const REAL *slopes, const REAL *offsets, const Classes *classes,
                          const Shape *s, int64_t lanes) {
    const int height = s->kernel_h, width = s->kernel_w, taps = height * width;
    const int lags_w = 2 * width - 1, count = (2 * height - 1) * lags_w + 1;
    memset(stencils, 0, classes->rows * classes->columns * count * sizeof(vec));
    for (int64_t k = 0; k < classes->rows * classes->columns; k++, stencils += count)
        for (int t = 0; t < taps; t++) {
            if (!(classes->row_taps[k / classes->columns] >> t / width & 1)) continue;
            if (!(classes->column_taps[k % classes->columns] >> t % width & 1)) continue;
            stencils[count - 1] += load(offsets + t * s->channels, lanes);
            for (int u = 0; u < taps; u++) {
                int lag = (u / width - t / width + height - 1) * lags_w + u % width - t % width + width - 1;
                stencils[lag] += load(slopes + (t * taps + u) * s->channels, lanes);
            }
        }
}

enum { CHAINS = 8 }; /* sums at a time, so that none waits for itself */

/* to[j] += constant + Σ stencil[lag] · pixel at that lag, for `tile` pixels `step` apart. With a constant for
   `tile` (1, 2, 4 or 8) a coefficient is read once for all of them. */
INLINE void tile_stencil(const vec *const *rows, int64_t spread, const vec *stencil, vec *to, int64_t step, int tile,
                         int lags_h, int lags_w) {
    vec sums[CHAINS];
#pragma GCC unroll 8
    for (int j = 0; j < CHAINS; j++) sums[j] = j < tile ? to[j * step] + stencil[lags_h * lags_w] : (vec){0};
#pragma GCC unroll 5
    for (int v = 0; v < lags_h; v++)
#pragma GCC unroll 5
        for (int h = 0; h < lags_w; h++)
#pragma GCC unroll 8
            for (int j = 0; j < tile; j++)
                sums[(v * lags_w + h) * tile % CHAINS + j] +=
                    stencil[v * lags_w + h] * rows[v][j * step + h * spread];
#pragma GCC unroll 8
    for (int j = 0; j < tile; j++) {
#pragma GCC unroll 8
        for (int k = j + tile; k < CHAINS; k += tile) sums[j] += sums[k];
        to[j * step] = sums[j];
    }
}

INLINE void run_stencil(const vec **rows, int64_t spread, const vec *stencil, vec *to, int64_t count, int64_t step,
                        int lags_h, int lags_w) {
    for (int64_t tile; count; count -= tile, to += tile * step) {
        tile = count >= 8 ? 8 : count >= 4 ? 4 : count >= 2 ? 2 : 1;
        if (tile == 8)
            tile_stencil(rows, spread, stencil, to, step, 8, lags_h, lags_w);
        else if (tile == 4)
            tile_stencil(rows, spread, stencil, to, step, 4, lags_h, lags_w);
        else if (tile == 2)
            tile_stencil(rows, spread, stencil, to, step, 2, lags_h, lags_w);
        else
            tile_stencil(rows, spread, stencil, to, step, 1, lags_h, lags_w);
        for (int v = 0; v < lags_h; v++) rows[v] += tile * step;
    }
}

INLINE void add_stencils(vec *to, const Classes *classes, const vec *stencils, const Shape *s, const Ring *ring,
                         int64_t y, int lags_h, int lags_w) {
    const vec *rows[MAX_LAGS], *here[MAX_LAGS];
    const int count = lags_h * lags_w + 1;
    for (int v = 0; v < lags_h; v++) rows[v] = ring_row(ring, y + v * s->dilation_h);
    for (int64_t start = 0; start < s->stride_w && start < s->width; start++)
        for (int64_t i = start, length; i < s->width; i += length * s->stride_w) {
            int64_t class = classes->column_class[i];
            for (length = 1; i + length * s->stride_w < s->width; length++)
                if (classes->column_class[i + length * s->stride_w] != class) break;
            for (int v = 0; v < lags_h; v++) here[v] = rows[v] + i;
            const vec *stencil = stencils + (classes->row_class[y] * classes->columns + class) * count;
            if (s->stride_w == 1 && s->dilation_w == 1)
                run_stencil(here, 1, stencil, to + i, length, 1, lags_h, lags_w);
            else if (s->stride_w == 2 && s->dilation_w == 1)
                run_stencil(here, 1, stencil, to + i, length, 2, lags_h, lags_w);
            else
                run_stencil(here, s->dilation_w, stencil, to + i, length, s->stride_w, lags_h, lags_w);
        }
}

/* What the convolution's outputs hand back: rows of their gradient, spread out by the stride with zeros
   between, so that one correlation does for every pixel. */
typedef struct {
    const REAL *grad, *out; /* out is NULL without ReLU; grad NULL where there is no convolution */
    const REAL *kernel;     /* (taps, channels) */
    Ring ring;
} Outputs;

INLINE void convolution_backward_row(vec *to, Outputs *from, const vec *kernel, const Shape *s, int64_t image,
                                     int64_t y, int64_t *filled, int kernel_w, int64_t lanes) {
    const int64_t spread = s->dilation_w * (kernel_w - 1);
    const vec *rows[MAX_TAPS], *kernels[MAX_TAPS];
    int count = 0;
    for (int64_t v = 0; v < s->kernel_h; v++) {
        int64_t top = y + s->pad_h - v * s->dilation_h, row = top / s->stride_h;
        if (top < 0 || top % s->stride_h || row >= s->out_height) continue;
        rows[count] = ring_row(&from->ring, row) + s->pad_w + spread;
        kernels[count++] = kernel + v * kernel_w;
    }
    for (int64_t last = (y + s->pad_h) / s->stride_h; *filled <= last && *filled < s->out_height; ++*filled) {
        int64_t at = (image * s->out_height + *filled) * s->out_width * s->channels;
        fill_gradient(ring_row(&from->ring, *filled) + spread, s->stride_w, from->grad + at,
                      from->out ? from->out + at : NULL, s, lanes);
    }
    for (int64_t x = 0; x < s->width; x++) {
        vec sum = {0};
        for (int k = 0; k < count; k++)
#pragma GCC unroll 8
            for (int h = 0; h < kernel_w; h++) sum += kernels[k][h] * rows[k][x - h * s->dilation_w];
        to[x] = sum;
    }
}

INLINE void backward_images(const REAL *x, vec shift, const Classes *classes, const vec *stencils, REAL *grad_x,
                            const Shape *s, const Ring *ring, Outputs *from, vec *row, Task task, int kernel_h,
                            int kernel_w, int64_t lanes) {
    const int lags_h = 2 * kernel_h - 1, lags_w = 2 * kernel_w - 1;
    const int64_t next = s->width * s->channels;
    vec kernel[MAX_TAPS];
    if (from->grad)
        for (int t = 0; t < kernel_h * kernel_w; t++) kernel[t] = load(from->kernel + t * s->channels, lanes);
    for (int64_t n = task.first; n < task.last; n++) {
        const REAL *image = x + n * s->height * next;
        int64_t filled = 0, filled_outputs = 0;
        for (int64_t y = 0; y < s->height; y++) {
            REAL *to = grad_x + (n * s->height + y) * next;
            for (; filled < y + ring->rows; filled++) fill_row(ring, s, image, filled, shift, lanes);
            for (int64_t i = 0; i < s->width; i++) __builtin_prefetch(to + next + i * s->channels, 1);
            if (from->grad)
                convolution_backward_row(row, from, kernel, s, n, y, &filled_outputs, kernel_w, lanes);
            else
                for (int64_t i = 0; i < s->width; i++) row[i] = load(to + i * s->channels, lanes);
            add_stencils(row, classes, stencils, s, ring, y, lags_h, lags_w);
            for (int64_t i = 0; i < s->width; i++) memcpy(to + i * s->channels, &row[i], lanes * sizeof(REAL));
        }
    }
}

/* Gradient of x: over the patches that hold a pixel as tap t, the sum of offsets[t] + Σ_u slopes[t, u] ·
   (tap u − shift), and what the convolution hands back. Where grad is given, it is that of the convolution's
   result `out` (NULL without ReLU) and grad_x is written; without it, grad_x is added to.
   slopes: (taps, taps, channels); offsets: (taps, channels). The images are cut into `groups`. */
int depthwise_backward(const REAL *x, const REAL *shift, const REAL *slopes, const REAL *offsets,
                       const int64_t *row_class, const int64_t *row_taps, int64_t row_classes,
                       const int64_t *column_class, const int64_t *column_taps, int64_t column_classes,
                       const REAL *grad, const REAL *out, const REAL *kernel, REAL *grad_x, int64_t groups,
                       const Shape *s) {
    const Classes classes = {row_classes, column_classes, row_class, column_class, row_taps, column_taps};
    const int lags_h = 2 * s->kernel_h - 1, lags_w = 2 * s->kernel_w - 1;
    const int64_t pad_h = s->dilation_h * (s->kernel_h - 1), pad_w = s->dilation_w * (s->kernel_w - 1);
    int failed = 0;
#pragma omp parallel for schedule(dynamic)
    for (int64_t number = 0; number < num_tasks(groups, s); number++) {
        Task task = task_of(number, groups, s);
        int64_t c = task.channel;
        Ring ring = ring_new(2 * pad_h + 1, s->width + 2 * pad_w, pad_h, pad_w);
        Outputs from = {grad ? grad + c : NULL, out ? out + c : NULL, kernel ? kernel + c : NULL};
        from.ring = ring_new(pad_h / s->stride_h + 2, s->width + 2 * s->pad_w + pad_w + s->stride_w, 0, 0);
        vec *stencils = aligned_alloc(64, row_classes * column_classes * (lags_h * lags_w + 1) * sizeof(vec));
        vec *row = aligned_alloc(64, s->width * sizeof(vec));
        if (ring.data && from.ring.data && stencils && row) {
            vec offset = load(shift + c, task.lanes);
            if (task.lanes == LANES)
                fill_stencils(stencils, slopes + c, offsets + c, &classes, s, LANES);
            else
                fill_stencils(stencils, slopes + c, offsets + c, &classes, s, task.lanes);
            if (lags_h == 5 && lags_w == 5 && task.lanes == LANES)
                backward_images(x + c, offset, &classes, stencils, grad_x + c, s, &ring, &from, row, task, 3, 3,
                                LANES);
            else
                backward_images(x + c, offset, &classes, stencils, grad_x + c, s, &ring, &from, row, task,
                                s->kernel_h, s->kernel_w, task.lanes);
        } else {
            failed = 1;
        }
        free(ring.data);
        free(from.ring.data);
        free(stencils);
        free(row);
    }
    return failed;
}
