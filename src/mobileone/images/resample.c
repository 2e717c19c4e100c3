/* Antialiased resizing of RGB pixels in two passes, integer for integer what Pillow computes: weights of 22 bits, sums
   rounded and cut to a byte after each pass, across first and then down. resample.py says what calls it.

   A vector holds four bytes of one row as 32-bit sums, across a pixel and the byte behind it, which counts for nothing.
   With SSE4.1, which is all that x86 needs, or NEON this takes a sixth of Pillow's time. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE4_1__)
#include <cpuid.h>
#include <smmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
enum { BITS = 22, ROWS = 4, CHANNELS = 3 };

typedef int32_t sums __attribute__((vector_size(16)));

/* Of one place of the result: where its pixels begin, how many there are, and their weights. */
typedef struct {
  int32_t first, count;
  const int32_t *weights;
} place;

INLINE sums half(void) { return (sums){0} + (1 << (BITS - 1)); }

INLINE sums widened(const uint8_t *four) {
#if defined(__SSE4_1__)
  int32_t bytes;
  memcpy(&bytes, four, 4);
  return (sums)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes));
#elif defined(__ARM_NEON)
  uint32_t bytes;
  memcpy(&bytes, four, 4);
  return (sums)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes))));
#else
  return (sums){four[0], four[1], four[2], four[3]};
#endif
}

INLINE void put(sums values, uint8_t *to, size_t number) {
  values >>= BITS;
#if defined(__SSE4_1__)
  const __m128i words = _mm_packs_epi32((__m128i)values, (__m128i)values);
  const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
  memcpy(to, &bytes, number);
#elif defined(__ARM_NEON)
  const int16x4_t words = vqmovn_s32((int32x4_t)values);
  const uint8x8_t bytes = vqmovun_s16(vcombine_s16(words, words));
  memcpy(to, &bytes, number);
#else
  for (size_t i = 0; i < number; i++) to[i] = (uint8_t)(values[i] < 0 ? 0 : values[i] > 255 ? 255 : values[i]);
#endif
}

static double filter(double x, int bicubic) {
  const double distance = x < 0 ? -x : x, a = -0.5;
  if (!bicubic) return distance < 1 ? 1 - distance : 0;
  if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  return distance < 2 ? (((distance - 5) * distance + 8) * distance - 4) * a : 0;
}

/* Pixels of the source for one of the result, and how far to either side its filter reaches. */
typedef struct {
  double scale, stretch, reach;
} measure;

static measure measured(float begin, float end, int places, int bicubic) {
  const double scale = (double)(end - begin) / places, stretch = scale < 1 ? 1 : scale;
  return (measure){scale, stretch, (bicubic ? 2 : 1) * stretch};
}

/* The most pixels that one place can have. */
static size_t most(measure m) { return 2 * (size_t)m.reach + 3; }

static void find_places(measure m, int size, float begin, int places, int bicubic, place *found, int32_t *weights,
                        double *shares) {
  const double per_pixel = 1 / m.stretch;
  for (int i = 0; i < places; i++) {
    const double centre = begin + (i + 0.5) * m.scale;
    int first = (int)(centre - m.reach + 0.5), last = (int)(centre + m.reach + 0.5);
    if (first < 0) first = 0;
    if (last > size) last = size;
    double total = 0;
    for (int k = 0; k < last - first; k++) total += shares[k] = filter((k + first - centre + 0.5) * per_pixel, bicubic);
    for (int k = 0; k < last - first; k++) {
      const double weight = (total != 0 ? shares[k] / total : shares[k]) * (1 << BITS);
      weights[k] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    found[i] = (place){first, last - first, weights};
    weights += last - first;
  }
}

/* One place of four rows at once. `bytes` of each are written: a pixel, or one more where the next place follows. */
INLINE void across_at(const place *place, const uint8_t *const *rows, uint8_t *const *to, int x, size_t bytes) {
  const size_t first = CHANNELS * (size_t)place->first;
  sums found[ROWS];
  for (int r = 0; r < ROWS; r++) found[r] = half();
  for (int k = 0; k < place->count; k++)
    for (int r = 0; r < ROWS; r++) found[r] += widened(rows[r] + first + CHANNELS * (size_t)k) * place->weights[k];
  for (int r = 0; r < ROWS; r++) put(found[r], to[r] + CHANNELS * x, bytes);
}

/* Rows, `from_row` bytes apart, to packed ones of `width` pixels. Reads a byte behind a row's last pixel. */
static void across(const uint8_t *from, size_t from_row, int rows, const place *places, int width, uint8_t *to) {
  for (int y = 0; y < rows; y += ROWS) {
    const uint8_t *row[ROWS];
    uint8_t *out[ROWS];
    for (int r = 0; r < ROWS; r++) { /* the last row again where fewer are left */
      const size_t number = y + r < rows ? y + r : rows - 1;
      row[r] = from + number * from_row;
      out[r] = to + number * CHANNELS * (size_t)width;
    }
    for (int x = 0; x < width - 1; x++) across_at(&places[x], row, out, x, CHANNELS + 1);
    across_at(&places[width - 1], row, out, width - 1, CHANNELS);
  }
}

/* Rows of `bytes`, `from_row` bytes apart, to `height` packed ones. */
static void down(const uint8_t *from, size_t from_row, size_t bytes, const place *places, int height, uint8_t *to) {
  enum { VECTORS = 4, STEP = 4 * VECTORS };
  for (int y = 0; y < height; y++, to += bytes) {
    const uint8_t *rows = from + (size_t)places[y].first * from_row;
    for (size_t x = 0; x < bytes; x += STEP) {
      const size_t left = bytes - x < STEP ? bytes - x : STEP;
      sums found[VECTORS];
      uint8_t step[STEP] = {0};
      for (int v = 0; v < VECTORS; v++) found[v] = half();
      for (int k = 0; k < places[y].count; k++) {
        const uint8_t *row = rows + (size_t)k * from_row + x;
        if (left < STEP) row = memcpy(step, row, left); /* behind the end there may be nothing to read */
        for (int v = 0; v < VECTORS; v++) found[v] += widened(row + 4 * v) * places[y].weights[k];
      }
      for (int v = 0; v < VECTORS; v++) put(found[v], step + 4 * v, 4);
      memcpy(to + x, step, left);
    }
  }
}

/* Moves places so that the first begins at 0; says by how much, and in `count` how many pixels they span. */
static int shifted(place *places, int number, int *count) {
  const int first = places[0].first;
  *count = places[number - 1].first + places[number - 1].count - first;
  for (int i = 0; i < number; i++) places[i].first -= first;
  return first;
}

/* Whether this processor has the instructions that the library was compiled with. */
int runs_here(void) {
#if defined(__SSE4_1__)
  unsigned a, b, c = 0, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1);
#else
  return 1;
#endif
}

/* The part `box` (left, top, right, bottom) of packed RGB pixels to (new_height, new_width) packed ones. Tall pictures
   go down first where `tall_first`, as newer versions of Pillow do. Returns 1 where memory is short. */
int resample(const uint8_t *from, int height, int width, const float *box, int bicubic, int tall_first, int new_height,
             int new_width, uint8_t *to) {
  const int down_first = tall_first && height > new_height && height - new_height > 2 * (width - new_width);
  const measure x = measured(box[0], box[2], new_width, bicubic), y = measured(box[1], box[3], new_height, bicubic);
  const size_t from_row = CHANNELS * (size_t)width, to_row = CHANNELS * (size_t)new_width;
  place *columns = malloc(new_width * sizeof(place)), *rows = malloc(new_height * sizeof(place));
  int32_t *weights = malloc((new_width * most(x) + new_height * most(y)) * sizeof(int32_t));
  double *shares = malloc((most(x) > most(y) ? most(x) : most(y)) * sizeof(double));
  uint8_t *last_row = malloc(from_row + 1), *between = NULL;
  if (columns && rows && weights && shares && last_row) {
    int num_columns, num_rows;
    find_places(x, width, box[0], new_width, bicubic, columns, weights, shares);
    find_places(y, height, box[1], new_height, bicubic, rows, weights + new_width * most(x), shares);
    from += CHANNELS * (size_t)shifted(columns, new_width, &num_columns);
    from += from_row * (size_t)shifted(rows, new_height, &num_rows);
    const size_t between_row = down_first ? CHANNELS * (size_t)num_columns : to_row;
    between = malloc((size_t)(down_first ? new_height : num_rows) * between_row + 1);
    if (between && down_first) {
      down(from, from_row, between_row, rows, new_height, between);
      across(between, between_row, new_height, columns, new_width, to);
    } else if (between) { /* behind the picture there may be nothing to read, so the last row is read from a copy */
      const size_t before_last = (size_t)num_rows - 1;
      across(from, from_row, num_rows - 1, columns, new_width, between);
      memcpy(last_row, from + before_last * from_row, CHANNELS * (size_t)num_columns);
      across(last_row, 0, 1, columns, new_width, between + before_last * to_row);
      down(between, to_row, to_row, rows, new_height, to);
    }
  }
  const int failed = !between;
  free(columns), free(rows), free(weights), free(shares), free(last_row), free(between);
  return failed;
}
