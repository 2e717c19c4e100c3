/* ==== What all kernels share =========================================================================== */

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 32") /* whole: what the loop indexes then lives in registers */
#define ROLLED _Pragma("GCC unroll 1")
#else
#define UNROLL
#define ROLLED
#endif

static inline int smaller(int a, int b) { return a < b ? a : b; }
static inline int divided_up(int a, int b) { return (a + b - 1) / b; }

/* Activations are bytes, 0 to 255, with 0 for zero; channels of a pixel lie together, rows behind one another,
   inside a border of zeros. Weights are signed bytes. A sum of products starts at the bias, is multiplied by its
   channel's scale, rounded half to even, and cut to 0 to 255, which is the ReLU. */

typedef struct { /* A depthwise convolution, 64 channels a block; see pack_depthwise. */
  const int8_t *weights;
  const int32_t *bias[2]; /* for activations as they are; for activations less 128 */
  const float *scale;
  int32_t offset; /* of the output's zero; 0 but before an attention */
  int32_t is_lifted; /* sums may begin 2^23 higher, with stride 1; see V_round */
  int32_t blocks;
} filters;

enum { LIFT = 0x4B000000 }; /* the bits of 2^23 as a float */

typedef GROUP_NUMBER group_number; /* of four input channels, counted from 0 */

typedef struct { /* Output channels of a matrix product, 16 · vectors a block; see pack_panel. */
  const int8_t *weights;
  const int32_t *bias[2];
  const float *scale;
  const group_number *order; /* where dot products of bytes saturate; see pair_orders */
  int32_t offset;
  int32_t is_lifted; /* sums may begin 2^23 higher; see V_round */
  int32_t groups;    /* of four input channels */
  int32_t vectors; /* 1, 2 or 3 */
  int32_t blocks;
  int32_t channel; /* the first block's first */
  int32_t shape;   /* which of the kernels fits: an index into kernels.pointwise */
  int32_t pitch;   /* bytes from one input pixel to the next */
} panel;

typedef struct { /* Where pixels go, one after the other, row after row. */
  uint8_t *at;
  int32_t pixel; /* bytes from one to the next */
  int32_t column, width;
  int32_t skip; /* bytes between rows */
} cursor;

typedef struct { /* Rows of pixels in memory; strides in bytes. */
  uint8_t *data;
  ptrdiff_t row, pixel;
} map;

typedef struct { /* One instruction set's functions. */
  const char *name;
  int (*is_supported)(void);
  int is_signed; /* its dot products take activations less 128 */
  void (*depthwise[2])(map in, const filters *f, int begin, int end, map out, int width, int rows);
  int (*gather_pairs)(const uint8_t *const *rows, int begin, int end, uint8_t *to); /* or NULL */
  void (*const *pointwise)(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                           uint8_t *scratch);
  void (*add_pixels)(map in, int height, int width, int channels, int32_t *sums);
  void (*round_averages)(const int32_t *sums, int channels, float count, float step, float unit, uint8_t *out);
  void (*dense)(const float *weights, const double *values, int inputs, double *sums, int outputs);
  void (*gate_pixels)(uint8_t *row, ptrdiff_t pixel, int width, int channels, const float *gates, float scale,
                      int in_offset, int out_offset);
  void (*classify)(const uint8_t *features, const panel *p, int begin, int end, int32_t *sums, uint8_t *scratch);
} kernels;

enum { SINK_PIXEL = 64, SINK_BYTES = 1024 }; /* a tile's outputs that do not lie behind one another */
enum { KEPT_BYTES = 64 }; /* behind them: whose weights are kept, where kernels keep some; NULL at the start of a run */

static inline cursor advanced(cursor c, int pixels) {
  c.at += (ptrdiff_t)pixels * c.pixel;
  for (c.column += pixels; c.column >= c.width; c.column -= c.width) c.at += c.skip;
  return c;
}

#if HAS_X86_KERNELS || HAS_ARM_KERNELS || HAS_WASM_KERNELS
/* Whether the next `size` pixels lie in one row and are all wanted. */
static inline int fits(const cursor *c, int size, int valid) {
  return valid >= size && (c->skip == 0 || c->column + size <= c->width);
}

/* Pixels of so many bytes from the sink to where they belong. */
static cursor scattered(cursor c, const uint8_t *sink, int bytes, int pixels) {
  for (int i = 0; i < pixels; i++, c = advanced(c, 1)) memcpy(c.at, sink + i * SINK_PIXEL, (size_t)bytes);
  return c;
}
#endif
