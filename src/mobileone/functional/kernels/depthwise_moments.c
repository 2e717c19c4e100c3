/* Moments of the patches of a depthwise convolution, over channels_last activations: sums over all outputs of
   every tap and of every product of two. Functions return 0, or 1 where memory is short. */

#include "ring.h"

enum { FLUSH = 512 }; /* terms a single-precision sum takes before it goes on in double */

INLINE void flush(vec *sums, int count, double *out, int64_t stride, int64_t lanes) {
    for (int k = 0; k < count; k++) {
        for (int64_t c = 0; c < lanes; c++) out[k * stride + c] += sums[k][c];
        sums[k] = (vec){0};
    }
}

/* ---- any window: product by product ---- */

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

INLINE void moments_by_products(const REAL *x, const REAL *shifts, double *out, const Shape *s, const Ring *ring,
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
            if (pending >= FLUSH) {
                flush(sums, count, out, s->channels, lanes);
                pending = 0;
            }
        }
    }
    flush(sums, count, out, s->channels, lanes);
}

/* ---- 3×3 at stride 1: lag by lag ---- */

/* The product of taps t and u is x[q] x[q + d] with d = u − t, at the pixel q under tap t. So 13 lags do for
   45 products, if pixels are told apart by which taps they can be: by row and by column a set of three bits.
   Inside the image all pixels can be all taps. Pixels are those of the padded image.

   Lags are counted as run_lags takes them: 0 to 2 are d = (0, 0), (0, 1) and (0, 2), then five for each of the
   next two rows, (1, −2) to (1, 2) and (2, −2) to (2, 2). The other 12 of the 25 are these with t and u changed
   over. */
enum { NUM_LAGS = 13, NUM_SUMS = NUM_LAGS + 1, SETS = 8 };

typedef struct {
    vec sums[SETS][SETS][NUM_SUMS]; /* by row set and column set; the last sum is of x itself */
    double totals[SETS][SETS][NUM_SUMS][LANES];
    char used[SETS][SETS];
} Lags;

INLINE int tap_set(int64_t pixel, int64_t outputs, int64_t dilation) {
    int set = 0;
    for (int t = 0; t < 3; t++)
        if (pixel >= t * dilation && pixel - t * dilation < outputs) set |= 1 << t;
    return set;
}

/* Add all lags of `count` pixels that can be the same taps; rows[v] is v taps below them. 14 sums and the pixel are
   15 vectors, which with AVX-512 leaves half of the registers to loads under way; the 54 sums of taps and products
   would not fit, which is why row_products goes over a row three times. Every lag of every pixel is taken, also those
   that reach beyond the last tap: to leave them out would put a condition into the innermost loop, and sum_lags does
   not ask for them. */
INLINE void run_lags(const vec *const *rows, int64_t count, int64_t dilation, vec *sums) {
    vec local[NUM_SUMS];
#pragma GCC unroll 16
    for (int k = 0; k < NUM_SUMS; k++) local[k] = sums[k];
    for (int64_t i = 0; i < count; i++) {
        vec value = rows[0][i];
        local[NUM_LAGS] += value;
        int k = 0;
#pragma GCC unroll 16
        for (int h = 0; h <= 2; h++) local[k++] += value * rows[0][i + h * dilation];
#pragma GCC unroll 16
        for (int v = 1; v <= 2; v++)
#pragma GCC unroll 16
            for (int h = -2; h <= 2; h++) local[k++] += value * rows[v][i + h * dilation];
    }
#pragma GCC unroll 16
    for (int k = 0; k < NUM_SUMS; k++) sums[k] = local[k];
}

/* From lags to taps: tap t has seen a pixel if it is in the pixel's row set (bit t / 3) and column set (bit t % 3),
   and the pair t, u has seen the product of lag u − t at the pixels that t has seen. Only t's sets count: an
   output that has t here has u there, inside the padded image. out: as depthwise_moments leaves it. */
static void sum_lags(const Lags *lags, double *out, int64_t channels, int64_t lanes) {
    for (int rows = 1; rows < SETS; rows++)
        for (int columns = 1; columns < SETS; columns++) {
            const double (*totals)[LANES] = lags->totals[rows][columns];
            int k = 9;
            if (!lags->used[rows][columns]) continue;
            for (int t = 0; t < 9; t++) {
                int seen = rows >> t / 3 & columns >> t % 3 & 1;
                for (int u = t; u < 9; u++, k++) {
                    int down = u / 3 - t / 3, right = u % 3 - t % 3;
                    const double *lag = totals[down ? 3 + (down - 1) * 5 + right + 2 : right];
                    if (seen)
                        for (int64_t c = 0; c < lanes; c++) out[k * channels + c] += lag[c];
                }
                if (seen)
                    for (int64_t c = 0; c < lanes; c++) out[t * channels + c] += totals[NUM_LAGS][c];
            }
        }
}

/* Carry on in double what single precision has summed. Borders fill slowly, one row or column an image, so they are
   carried on after many images, the inside after some rows. */
static void flush_borders(Lags *lags, int64_t lanes) {
    for (int rows = 1; rows < SETS; rows++)
        for (int columns = 1; columns < SETS; columns++)
            if (lags->used[rows][columns])
                flush(lags->sums[rows][columns], NUM_SUMS, lags->totals[rows][columns][0], LANES, lanes);
}

/* The ring's rows have a margin beyond the padding for lags that leave it; no tap pair asks for those. */
INLINE void moments_by_lags(const REAL *x, const REAL *shifts, Lags *lags, const Shape *s, const Ring *ring,
                            int64_t first, int64_t last, int64_t lanes) {
    const vec shift = load(shifts, lanes);
    const int64_t height = s->out_height + 2 * s->dilation_h, width = s->out_width + 2 * s->dilation_w;
    const int64_t longer = height > width ? height : width;
    int64_t pending = 0, pending_borders = 0;
    for (int64_t n = first; n < last; n++) {
        const REAL *image = x + n * s->height * s->width * s->channels;
        for (int64_t y = 0, filled = 0; y < height; y++) {
            const vec *rows[3];
            for (; filled < height && filled <= y + 2 * s->dilation_h; filled++)
                fill_row(ring, s, image, filled, shift, lanes);
            int set = tap_set(y, s->out_height, s->dilation_h);
            for (int64_t i = 0, count; i < width; i += count) {
                int columns = tap_set(i, s->out_width, s->dilation_w);
                for (count = 1; i + count < width; count++)
                    if (tap_set(i + count, s->out_width, s->dilation_w) != columns) break;
                for (int v = 0; v < 3; v++)
                    rows[v] = ring_row(ring, y + v * s->dilation_h) + ring->pad_w - s->pad_w + i;
                run_lags(rows, count, s->dilation_w, lags->sums[set][columns]);
                lags->used[set][columns] = 1;
            }
            pending += width;
            if (pending >= FLUSH) {
                flush(lags->sums[7][7], NUM_SUMS, lags->totals[7][7][0], LANES, lanes);
                pending = 0;
            }
        }
        pending_borders += longer;
        if (pending_borders >= FLUSH || n + 1 == last) {
            flush_borders(lags, lanes);
            pending_borders = 0;
        }
    }
}

/* Sums over outputs of every tap and of every product of two taps (upper triangle, row by row), of x − shift.
   The images are cut into `groups`; out: (groups, taps + taps (taps + 1) / 2, channels), zero at the start. */
int depthwise_moments(const REAL *x, const REAL *shift, double *out, int64_t groups, const Shape *s) {
    int taps = s->kernel_h * s->kernel_w, count = taps + taps * (taps + 1) / 2, failed = 0;
    int square = s->kernel_h == 3 && s->kernel_w == 3, by_lags = square && s->stride_h == 1 && s->stride_w == 1;
    int64_t margin = by_lags ? 2 * s->dilation_w : 0;
#pragma omp parallel for schedule(dynamic)
    for (int64_t number = 0; number < num_tasks(groups, s); number++) {
        Task task = task_of(number, groups, s);
        const REAL *from = x + task.channel, *shifts = shift + task.channel;
        double *to = out + task.group * count * s->channels + task.channel;
        int64_t pad_w = s->pad_w + margin, rows = s->dilation_h * (s->kernel_h - 1) + 1;
        Ring ring = ring_new(rows, s->width + 2 * pad_w, s->pad_h, pad_w);
        Lags *lags = by_lags ? aligned_alloc(64, sizeof(Lags)) : NULL;
        if (!ring.data || (by_lags && !lags)) {
            failed = 1;
        } else if (by_lags) {
            memset(lags, 0, sizeof(Lags));
            if (task.lanes == LANES)
                moments_by_lags(from, shifts, lags, s, &ring, task.first, task.last, LANES);
            else
                moments_by_lags(from, shifts, lags, s, &ring, task.first, task.last, task.lanes);
            sum_lags(lags, to, s->channels, task.lanes);
        } else if (square && task.lanes == LANES) {
            moments_by_products(from, shifts, to, s, &ring, task.first, task.last, 9, LANES);
        } else {
            moments_by_products(from, shifts, to, s, &ring, task.first, task.last, taps, task.lanes);
        }
        free(ring.data);
        free(lags);
    }
    return failed;
}
