/* Antialiased resizing of RGBA pixels in two passes, integer for integer what Pillow computes: weights of 22 bits, sums
   rounded and cut to a byte after each pass. pixels.js computes the weights and says where everything lies.

   A weight is upper · 2^11 + lower, so that products of 16 bits take two pixels at a time. A table holds for each place
   of the result where its pixels begin and how many pairs of them there are, then its pairs: two lower halves, two
   upper halves. An odd last pixel has a neighbour of weight 0. */
#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define INLINE static inline __attribute__((always_inline))
enum { SHIFT = 11, BITS = 22 };

typedef struct {
  int32_t first, pairs;
  const int16_t *weights; /* pairs × {lower, lower, upper, upper} */
} place;

typedef struct {
  v128_t lower, upper; /* sums of four channels */
} sums;

static const sums zero;

/* Bytes of four channels of two pixels, as {r0 r1 g0 g1 b0 b1 a0 a1} in 16 bits. */
INLINE v128_t paired(v128_t two) {
  const v128_t none = wasm_i32x4_const_splat(0);
  return wasm_i8x16_shuffle(two, none, 0, 16, 4, 16, 1, 16, 5, 16, 2, 16, 6, 16, 3, 16, 7, 16);
}

INLINE sums added(sums s, v128_t pixels, v128_t lower, v128_t upper) {
  const sums more = {wasm_i32x4_add(s.lower, wasm_i32x4_dot_i16x8(pixels, lower)),
                     wasm_i32x4_add(s.upper, wasm_i32x4_dot_i16x8(pixels, upper))};
  return more;
}

INLINE v128_t rounded(sums s) {
  const v128_t all = wasm_i32x4_add(s.lower, wasm_i32x4_shl(s.upper, SHIFT));
  return wasm_i32x4_shr(wasm_i32x4_add(all, wasm_i32x4_const_splat(1 << (BITS - 1))), BITS);
}

/* Rows of `from_row` bytes to rows of `width` pixels. */
EXPORT("horizontal")
void horizontal(const uint8_t *from, int from_row, int rows, const place *places, int width, uint8_t *to) {
  for (int y = 0; y < rows; y += 2, from += 2 * from_row) {
    const int below = y + 1 < rows ? from_row : 0, to_below = y + 1 < rows ? 4 * width : 0;
    uint8_t *out = to + (long)4 * width * y;
    for (int x = 0; x < width; x++, out += 4) {
      const uint8_t *pixel = from + 4 * places[x].first;
      const int16_t *w = places[x].weights;
      sums upper = zero, lower = zero;
      for (int i = 0; i < places[x].pairs; i++, pixel += 8, w += 4) {
        const v128_t low = wasm_v128_load32_splat(w), high = wasm_v128_load32_splat(w + 2);
        upper = added(upper, paired(wasm_v128_load64_zero(pixel)), low, high);
        lower = added(lower, paired(wasm_v128_load64_zero(pixel + below)), low, high);
      }
      v128_t both = wasm_i16x8_narrow_i32x4(rounded(upper), rounded(lower));
      both = wasm_u8x16_narrow_i16x8(both, both);
      wasm_v128_store32_lane(out + to_below, both, 1);
      wasm_v128_store32_lane(out, both, 0);
    }
  }
}

/* Rows of `width` pixels to `height` rows; `from` is the row that the table calls `first`. */
EXPORT("vertical")
void vertical(const uint8_t *from, int first, int width, const place *places, int height, uint8_t *to) {
  const int row = 4 * width;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < row; x += 8) {
      const uint8_t *pixel = from + (long)(places[y].first - first) * row + x;
      const int16_t *w = places[y].weights;
      sums left = zero, right = zero;
      for (int i = 0; i < places[y].pairs; i++, pixel += 2 * row, w += 4) {
        const v128_t low = wasm_v128_load32_splat(w), high = wasm_v128_load32_splat(w + 2);
        const v128_t bytes = wasm_i8x16_shuffle(wasm_v128_load64_zero(pixel), wasm_v128_load64_zero(pixel + row), 0, 16,
                                                1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        left = added(left, wasm_u16x8_extend_low_u8x16(bytes), low, high);
        right = added(right, wasm_u16x8_extend_high_u8x16(bytes), low, high);
      }
      v128_t both = wasm_i16x8_narrow_i32x4(rounded(left), rounded(right));
      both = wasm_u8x16_narrow_i16x8(both, both);
      wasm_v128_store64_lane(to + (long)y * row + x, both, 0); /* an odd width's last is overwritten by the next row */
    }
}

/* What lies behind transparent pixels is white, as Pillow lays one over the other; whether there were any. */
EXPORT("over_white") int over_white(uint8_t *rgba, int pixels) {
  int found = 0;
  for (int i = 0; i < pixels; i++, rgba += 4) {
    const uint32_t alpha = rgba[3];
    if (alpha == 255) continue;
    found = 1;
    for (int c = 0; c < 3; c++) {
      const uint32_t sum = (rgba[c] * alpha + 255 * (255 - alpha)) * 128 + (128 << 7);
      rgba[c] = alpha ? (uint8_t)((((sum >> 8) + sum) >> 8) >> 7) : 255;
    }
    rgba[3] = 255;
  }
  return found;
}

/* Rows of RGBA, or BGRA, into a picture of `to_row` bytes a row: RGB, or grey for one channel. */
EXPORT("packed")
void packed(const uint8_t *from, int from_row, int blue_first, int width, int height, int channels, uint8_t *to,
            int to_row) {
  for (int y = 0; y < height; y++, from += from_row, to += to_row)
    for (int x = 0; x < width; x++) {
      const uint8_t red = from[4 * x + (blue_first ? 2 : 0)], green = from[4 * x + 1];
      const uint8_t blue = from[4 * x + (blue_first ? 0 : 2)];
      if (channels == 1) {
        to[x] = (uint8_t)__builtin_rintf(((float)red * 0.299f + (float)green * 0.587f) + (float)blue * 0.114f);
      } else {
        to[3 * x] = red;
        to[3 * x + 1] = green;
        to[3 * x + 2] = blue;
      }
    }
}
