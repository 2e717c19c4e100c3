/* What the depthwise kernels share: vectors of channels, the geometry, and a small ring of padded rows.

   REAL is float or double and MASK the integer of its size. Activations are channels_last. Each task walks
   LANES channels of some images; the rows it needs lie in a ring, padding included, so that the inner loops
   have no conditions and never leave the first cache. Work is cut by shape alone, so results do not depend on
   the number of threads. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of what the processor's registers hold: a compiler breaks up longer vectors badly, comparisons above all. */
#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif
typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));
typedef MASK mask __attribute__((vector_size(VECTOR_BYTES)));
enum { LANES = VECTOR_BYTES / sizeof(REAL), MAX_TAPS = 25, MAX_LAGS = 81 };

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

/* A ring of padded rows, (rows, width) vectors. */
typedef struct {
    vec *data;
    int64_t rows, width, pad_h, pad_w;
} Ring;

static Ring ring_new(int64_t rows, int64_t width, int64_t pad_h, int64_t pad_w) {
    Ring ring = {NULL, rows, width, pad_h, pad_w};
    ring.data = aligned_alloc(64, rows * width * sizeof(vec));
    if (ring.data) memset(ring.data, 0, rows * width * sizeof(vec));
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

/* A row of the gradient behind the ReLU: 0 where the output was. `out` may be NULL, without ReLU. */
INLINE void fill_gradient(vec *to, int64_t step, const REAL *grad, const REAL *out, const Shape *s,
                          int64_t lanes) {
    const int64_t next = s->out_width * s->channels;
    for (int64_t x = 0; x < s->out_width; x++) {
        vec value = load(grad + x * s->channels, lanes);
        __builtin_prefetch(grad + next + x * s->channels);
        if (out) {
            __builtin_prefetch(out + next + x * s->channels);
            mask dead = load(out + x * s->channels, lanes) <= 0; /* NaN is not */
            value = (vec)(~dead & (mask)value);
        }
        to[x * step] = value;
    }
}

typedef struct {
    int64_t group, channel, lanes, first, last; /* images first to last − 1 */
} Task;

/* Task `number` of `groups` pieces of the batch times blocks of LANES channels. */
INLINE Task task_of(int64_t number, int64_t groups, const Shape *s) {
    int64_t blocks = (s->channels + LANES - 1) / LANES, group = number / blocks, c = number % blocks * LANES;
    Task task = {group, c, s->channels - c < LANES ? s->channels - c : LANES, group * s->images / groups,
                 (group + 1) * s->images / groups};
    return task;
}

INLINE int64_t num_tasks(int64_t groups, const Shape *s) { return (s->channels + LANES - 1) / LANES * groups; }
