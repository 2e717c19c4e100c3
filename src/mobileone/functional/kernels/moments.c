/* Moments of the patches of a depthwise convolution, and their gradient, over channels_last activations.

   REAL is float or double. Each task walks LANES channels of some images; the input rows it needs lie in a
   small ring of rows, padding included, so that the inner loops have no conditions and never leave the first
   cache. Work is cut by shape alone, so results do not depend on the number of threads. Functions return 0,
   or 1 where memory is short. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef REAL vec __attribute__((vector_size(64)));
enum { LANES = 64 / sizeof(REAL), MAX_TAPS = 25, MAX_LAGS = 81, FLUSH = 512 };

typedef struct {
    int64_t images, height, width, channels, out_height, out_width;
    int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
} Shape;

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const REAL *from, int64_t lanes) {
    vec value = {0};
    memcpy(&value, from, lanes * sizeof(REAL));
    return value;
}

/* A ring of padded input rows, (rows, width) vectors; row and column 0 are the first of the padding. */
typedef struct {
    vec *data;
    int64_t rows, width, pad_h, pad_w;
} Ring;

static Ring ring_new(int64_t rows, const Shape *s, int64_t pad_h, int64_t pad_w) {
    Ring ring = {NULL, rows, s->width + 2 * pad_w, pad_h, pad_w};
    ring.data = aligned_alloc(64, ring.rows * ring.width * sizeof(vec));
    return ring;
}

INLINE vec *ring_row(const Ring *ring, int64_t row) { return ring->data + row % ring->rows * ring->width; }

/* Put padded row `row` of an image into the ring, less `shift`: a pixel of the padding is 0 − shift. */
INLINE void fill_row(const Ring *ring, const Shape *s, const REAL *image, int64_t row, vec shift,
                     int64_t lanes) {
    vec *to = ring_row(ring, row);
    int64_t y = row - ring->pad_h;
    if (y < 0 || y >= s->height) {
        for (int64_t x = 0; x < ring->width; x++) to[x] = -shift;
        return;
    }
    for (int64_t x = 0; x < ring->pad_w; x++) to[x] = to[ring->width - 1 - x] = -shift;
    const REAL *from = image + y * s->width * s->channels;
    const int64_t next = s->width * s->channels;
    for (int64_t x = 0; x < s->width; x++) {
        /* A channel block strides over memory, where the processor's own prefetching is of little help. */
        __builtin_prefetch(from + next + x * s->channels);
        to[ring->pad_w + x] = load(from + x * s->channels, lanes) - shift;
    }
}

/* ---- forward ---- */

/* sums[k] += tap t · tap u over a row of outputs, for begin ≤ t < end and u ≥ t, k counting the pairs.
   With constants for arguments the sums live in registers: some 17 at a time, which is why there are passes. */
INLINE void row_products(vec *const *taps, int64_t width, int64_t stride, vec *sums, int begin, int end,
                         int num_taps) {
    vec local[MAX_TAPS * 2];
    int count = 0;
    for (int t = begin; t < end; t++) count += num_taps - t;
#pragma GCC unroll 32
    for (int k = 0; k < count; k++) local[k] = sums[k];
    for (int64_t i = 0; i < width; i++) {
        int k = 0;
#pragma GCC unroll 16
        for (int t = begin; t < end; t++) {
            vec first = taps[t][i * stride];
#pragma GCC unroll 16
            for (int u = t; u < num_taps; u++) local[k++] += first * taps[u][i * stride];
        }
    }
#pragma GCC unroll 32
    for (int k = 0; k < count; k++) sums[k] = local[k];
}

INLINE void row_sums(vec *const *taps, int64_t width, int64_t stride, vec *sums, int num_taps) {
    vec local[MAX_TAPS];
#pragma GCC unroll 16
    for (int t = 0; t < num_taps; t++) local[t] = sums[t];
    for (int64_t i = 0; i < width; i++)
#pragma GCC unroll 16
        for (int t = 0; t < num_taps; t++) local[t] += taps[t][i * stride];
#pragma GCC unroll 16
    for (int t = 0; t < num_taps; t++) sums[t] = local[t];
}

INLINE void flush(vec *sums, int count, double *out, int64_t channels, int64_t lanes) {
    for (int k = 0; k < count; k++) {
        for (int64_t c = 0; c < lanes; c++) out[k * channels + c] += sums[k][c];
        sums[k] = (vec){0};
    }
}

INLINE void moments_block(const REAL *x, const REAL *shifts, double *out, const Shape *s, const Ring *ring,
                          int64_t first, int64_t last, int num_taps, int64_t lanes) {
    const int count = num_taps + num_taps * (num_taps + 1) / 2;
    vec sums[MAX_TAPS + MAX_TAPS * (MAX_TAPS + 1) / 2], shift = load(shifts, lanes);
    vec *taps[MAX_TAPS];
    memset(sums, 0, count * sizeof(vec));
    int64_t pending = 0;
    for (int64_t n = first; n < last; n++) {
        const REAL *image = x + n * s->height * s->width * s->channels;
        for (int64_t y = 0, filled = 0; y < s->out_height; y++) {
            int64_t top = y * s->stride_h, end = top + s->dilation_h * (s->kernel_h - 1) + 1;
            for (filled = filled < top ? top : filled; filled < end; filled++)
                fill_row(ring, s, image, filled, shift, lanes);
            for (int t = 0; t < num_taps; t++)
                taps[t] = ring_row(ring, top + t / s->kernel_w * s->dilation_h) + t % s->kernel_w * s->dilation_w;
            row_sums(taps, s->out_width, s->stride_w, sums, num_taps == 9 ? 9 : num_taps);
            vec *products = sums + num_taps;
            if (num_taps == 9) {
                row_products(taps, s->out_width, s->stride_w, products, 0, 2, 9);
                row_products(taps, s->out_width, s->stride_w, products + 17, 2, 4, 9);
                row_products(taps, s->out_width, s->stride_w, products + 30, 4, 9, 9);
            } else {
                for (int t = 0; t < num_taps; products += num_taps - t++)
                    row_products(taps, s->out_width, s->stride_w, products, t, t + 1, num_taps);
            }
            pending += s->out_width;
            if (pending >= FLUSH) { /* long sums go on in double */
                flush(sums, count, out, s->channels, lanes);
                pending = 0;
            }
        }
    }
    flush(sums, count, out, s->channels, lanes);
}

/* Sums over outputs of every tap and of every product of two taps (upper triangle, row by row), of x − shift.
   The images are cut into `groups`; out: (groups, taps + taps (taps + 1) / 2, channels), zero at the start. */
int depthwise_moments(const REAL *x, const REAL *shift, double *out, int64_t groups, const Shape *s) {
    int64_t blocks = (s->channels + LANES - 1) / LANES;
    int taps = s->kernel_h * s->kernel_w, count = taps + taps * (taps + 1) / 2, failed = 0;
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < blocks * groups; task++) {
        int64_t group = task / blocks, c = task % blocks * LANES;
        int64_t lanes = s->channels - c < LANES ? s->channels - c : LANES;
        int64_t first = group * s->images / groups, last = (group + 1) * s->images / groups;
        double *to = out + group * count * s->channels + c;
        Ring ring = ring_new(s->dilation_h * (s->kernel_h - 1) + 1, s, s->pad_h, s->pad_w);
        if (!ring.data) {
            failed = 1;
            continue;
        }
        if (taps == 9 && lanes == LANES)
            moments_block(x + c, shift + c, to, s, &ring, first, last, 9, LANES);
        else
            moments_block(x + c, shift + c, to, s, &ring, first, last, taps, lanes);
        free(ring.data);
    }
    return failed;
}

/* ---- backward ---- */

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

/* A run of pixels of one class, `step` apart: grad += constant + Σ stencil[lag] · pixel at that lag. */
INLINE void run_stencil(const vec *const *rows, int64_t spread, const vec *stencil, REAL *grad, int64_t count,
                        int64_t step, int64_t channels, int64_t next, int lags_h, int lags_w,
                        int64_t lanes) {
    vec local[MAX_LAGS + 1];
#pragma GCC unroll 32
    for (int k = 0; k <= lags_h * lags_w; k++) local[k] = stencil[k];
    for (int64_t i = 0; i < count; i++) {
        REAL *to = grad + i * step * channels;
        __builtin_prefetch(to + next, 1);
        vec even = load(to, lanes) + local[lags_h * lags_w], odd = {0};
#pragma GCC unroll 16
        for (int v = 0; v < lags_h; v++) {
#pragma GCC unroll 16
            for (int h = 0; h < lags_w; h++) {
                vec term = local[v * lags_w + h] * rows[v][i * step + h * spread];
                if (h % 2)
                    odd += term;
                else
                    even += term;
            }
        }
        even += odd;
        memcpy(to, &even, lanes * sizeof(REAL));
    }
}

INLINE void backward_image(const REAL *image, vec shift, const Classes *classes, const vec *stencils, REAL *grad,
                           const Shape *s, const Ring *ring, int lags_h, int lags_w, int64_t lanes) {
    const vec *rows[MAX_LAGS], *here[MAX_LAGS];
    const int count = lags_h * lags_w + 1;
    for (int64_t y = 0, filled = 0; y < s->height; y++) {
        for (; filled < y + ring->rows; filled++) fill_row(ring, s, image, filled, shift, lanes);
        for (int v = 0; v < lags_h; v++) rows[v] = ring_row(ring, y + v * s->dilation_h);
        for (int64_t start = 0; start < s->stride_w && start < s->width; start++)
            for (int64_t i = start, length; i < s->width; i += length * s->stride_w) {
                int64_t class = classes->column_class[i];
                for (length = 1; i + length * s->stride_w < s->width; length++)
                    if (classes->column_class[i + length * s->stride_w] != class) break;
                for (int v = 0; v < lags_h; v++) here[v] = rows[v] + i;
                run_stencil(here, s->dilation_w,
                            stencils + (classes->row_class[y] * classes->columns + class) * count,
                            grad + (y * s->width + i) * s->channels, length, s->stride_w, s->channels,
                            s->width * s->channels, lags_h,
                            lags_w, lanes);
            }
    }
}

/* grad_x += Σ over the patches that hold the pixel as tap t of offsets[t] + Σ_u slopes[t, u] · (tap u − shift).
   slopes: (taps, taps, channels); offsets: (taps, channels). The images are cut into `groups`. */
int depthwise_moments_backward(const REAL *x, const REAL *shift, const REAL *slopes, const REAL *offsets,
                               const int64_t *row_class, const int64_t *row_taps, int64_t row_classes,
                               const int64_t *column_class, const int64_t *column_taps, int64_t column_classes,
                               REAL *grad_x, int64_t groups, const Shape *s) {
    const Classes classes = {row_classes, column_classes, row_class, column_class, row_taps, column_taps};
    const int64_t blocks = (s->channels + LANES - 1) / LANES, size = s->height * s->width * s->channels;
    const int lags_h = 2 * s->kernel_h - 1, lags_w = 2 * s->kernel_w - 1;
    const int64_t pad_h = s->dilation_h * (s->kernel_h - 1), pad_w = s->dilation_w * (s->kernel_w - 1);
    int failed = 0;
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < blocks * groups; task++) {
        int64_t group = task / blocks, c = task % blocks * LANES;
        int64_t lanes = s->channels - c < LANES ? s->channels - c : LANES;
        int64_t first = group * s->images / groups, last = (group + 1) * s->images / groups;
        Ring ring = ring_new(2 * pad_h + 1, s, pad_h, pad_w);
        vec *stencils = aligned_alloc(64, row_classes * column_classes * (lags_h * lags_w + 1) * sizeof(vec));
        if (ring.data && stencils) {
            vec offset = load(shift + c, lanes);
            if (lanes == LANES)
                fill_stencils(stencils, slopes + c, offsets + c, &classes, s, LANES);
            else
                fill_stencils(stencils, slopes + c, offsets + c, &classes, s, lanes);
            for (int64_t n = first; n < last; n++) {
                const REAL *image = x + n * size + c;
                REAL *grad = grad_x + n * size + c;
                if (lags_h == 5 && lags_w == 5 && lanes == LANES)
                    backward_image(image, offset, &classes, stencils, grad, s, &ring, 5, 5, LANES);
                else
                    backward_image(image, offset, &classes, stencils, grad, s, &ring, lags_h, lags_w, lanes);
            }
        } else {
            failed = 1;
        }
        free(ring.data);
        free(stencils);
    }
    return failed;
}
