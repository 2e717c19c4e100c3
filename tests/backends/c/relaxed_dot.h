/* What processors make of relaxed dot products, in instructions that all engines have: MACHINE is one of these. */
#define UNSIGNED 1   /* x86 with VNNI */
#define SIGNED 2     /* ARM */
#define SATURATING 3 /* other x86 */
#define STRANGE 4    /* of four saturating, of two with a sign: no machine that is known */
#include <wasm_simd128.h>

static inline v128_t even_of(const v128_t *words) {
  return wasm_i16x8_shuffle(words[0], words[1], 0, 2, 4, 6, 8, 10, 12, 14);
}
static inline v128_t odd_of(const v128_t *words) {
  return wasm_i16x8_shuffle(words[0], words[1], 1, 3, 5, 7, 9, 11, 13, 15);
}

static inline void multiply_bytes(v128_t *products, v128_t weights, v128_t bytes, int is_signed) {
  const v128_t low = is_signed ? wasm_i16x8_extend_low_i8x16(bytes) : wasm_u16x8_extend_low_u8x16(bytes);
  const v128_t high = is_signed ? wasm_i16x8_extend_high_i8x16(bytes) : wasm_u16x8_extend_high_u8x16(bytes);
  products[0] = wasm_i16x8_mul(wasm_i16x8_extend_low_i8x16(weights), low);
  products[1] = wasm_i16x8_mul(wasm_i16x8_extend_high_i8x16(weights), high);
}

static inline v128_t dot_of_two(v128_t weights, v128_t bytes) {
  v128_t products[2];
  multiply_bytes(products, weights, bytes, MACHINE == SIGNED || MACHINE == STRANGE);
  return wasm_i16x8_add_sat(even_of(products), odd_of(products));
}

static inline v128_t dot(v128_t weights, v128_t bytes, v128_t sums) {
  v128_t products[2];
  multiply_bytes(products, weights, bytes, MACHINE == SIGNED);
#if MACHINE == SATURATING || MACHINE == STRANGE
  const v128_t pairs = wasm_i16x8_add_sat(even_of(products), odd_of(products));
  return wasm_i32x4_add(sums, wasm_i32x4_extadd_pairwise_i16x8(pairs));
#else
  const v128_t low = wasm_i32x4_extadd_pairwise_i16x8(products[0]);
  const v128_t high = wasm_i32x4_extadd_pairwise_i16x8(products[1]);
  const v128_t even = wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), odd = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
  return wasm_i32x4_add(sums, wasm_i32x4_add(even, odd));
#endif
}
#define wasm_i32x4_relaxed_trunc_f32x4 wasm_i32x4_trunc_sat_f32x4
#define wasm_i32x4_relaxed_dot_i8x16_i7x16_add dot
#define wasm_i16x8_relaxed_dot_i8x16_i7x16 dot_of_two
