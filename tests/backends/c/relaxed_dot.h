/* What processors make of the relaxed dot product, in instructions that all engines have: MACHINE is one of these. */
#define UNSIGNED 1   /* x86 with VNNI */
#define SIGNED 2     /* ARM */
#define SATURATING 3 /* other x86 */
#include <wasm_simd128.h>

static inline v128_t dot(v128_t weights, v128_t bytes, v128_t sums) {
  v128_t products[2];
#if MACHINE == SIGNED
  products[0] = wasm_i16x8_extmul_low_i8x16(weights, bytes);
  products[1] = wasm_i16x8_extmul_high_i8x16(weights, bytes);
#else
  products[0] = wasm_i16x8_mul(wasm_i16x8_extend_low_i8x16(weights), wasm_u16x8_extend_low_u8x16(bytes));
  products[1] = wasm_i16x8_mul(wasm_i16x8_extend_high_i8x16(weights), wasm_u16x8_extend_high_u8x16(bytes));
#endif
#if MACHINE == SATURATING
  const v128_t even = wasm_i16x8_shuffle(products[0], products[1], 0, 2, 4, 6, 8, 10, 12, 14);
  const v128_t odd = wasm_i16x8_shuffle(products[0], products[1], 1, 3, 5, 7, 9, 11, 13, 15);
  return wasm_i32x4_add(sums, wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_add_sat(even, odd)));
#else
  const v128_t low = wasm_i32x4_extadd_pairwise_i16x8(products[0]);
  const v128_t high = wasm_i32x4_extadd_pairwise_i16x8(products[1]);
  const v128_t even = wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), odd = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
  return wasm_i32x4_add(sums, wasm_i32x4_add(even, odd));
#endif
}
#define wasm_i32x4_relaxed_trunc_f32x4 wasm_i32x4_trunc_sat_f32x4
#define wasm_i32x4_relaxed_dot_i8x16_i7x16_add dot
