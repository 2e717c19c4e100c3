/* ---- vectors of 4 lanes ---- */

#define V_INLINE static inline __attribute__((always_inline))
#define V_KERNEL static __attribute__((noinline))
typedef v128_t V_ints;

/* Loads with their offset in the instruction, which LLVM computes instead; and a sum that it may not move, for engines
   keep few registers apart: without both, tiles run at half the speed. */
#define V_LOAD_AT(to, instruction, from, offset) \
  __asm__ volatile("local.get %1\n\t" instruction " %2\n\tlocal.set %0" : "=r"(to) : "r"(from), "i"(offset))
#define V_IN_PLACE(sum) __asm__ volatile("" : "+r"(sum))

V_INLINE V_ints V_load(const void *p) { return wasm_v128_load(p); }
V_INLINE V_ints V_zero(void) { return wasm_i32x4_const_splat(0); }
V_INLINE V_ints V_add(V_ints a, V_ints b) { return wasm_i32x4_add(a, b); }
V_INLINE void V_store_ints(int32_t *p, V_ints a) { wasm_v128_store(p, a); }

/* Read from memory: engines make a constant of instructions, anew wherever it is used. */
ALIGNED static const float V_lowest[4] = {-512, -512, -512, -512};
ALIGNED static const float V_shift[4] = {12582912, 12582912, 12582912, 12582912};

/* To whole numbers, half to even, by way of the fraction's low bits, once nothing is too small for them, which is below
   -2^22; what is too large stays large. */
V_INLINE V_ints V_whole(v128_t values, int may_be_low) {
  v128_t lowest, shift;
  V_LOAD_AT(shift, "v128.load", V_shift, 0);
  if (may_be_low) {
    V_LOAD_AT(lowest, "v128.load", V_lowest, 0);
    values = wasm_f32x4_pmax(lowest, values);
  }
  return wasm_i32x4_sub(wasm_f32x4_add(values, shift), shift);
}

V_INLINE V_ints V_round(V_ints sums, v128_t scale, int32_t offset) {
  const V_ints whole = V_whole(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sums), scale), HAS_LOW_SUMS);
  return offset ? V_add(whole, wasm_i32x4_splat(offset)) : whole;
}

enum { V_DOUBLES = 2 };
typedef v128_t V_doubles;
V_INLINE V_doubles V_load_doubles(const double *p) { return wasm_v128_load(p); }
V_INLINE void V_store_doubles(double *p, V_doubles a) { wasm_v128_store(p, a); }
V_INLINE V_doubles V_multiply_add(V_doubles sum, const float *w, double x) {
  return wasm_f64x2_add(sum, wasm_f64x2_mul(wasm_f64x2_promote_low_f32x4(wasm_v128_load64_zero(w)),
                                            wasm_f64x2_splat(x)));
}

/* Four bytes as lanes, and back. */
V_INLINE V_ints V_widen(const uint8_t *p) {
  return wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(p)));
}

V_INLINE V_ints V_gate(V_ints value, int in_offset, const float *gates, float scale, int out_offset) {
  const v128_t x = wasm_f32x4_convert_i32x4(wasm_i32x4_sub(value, wasm_i32x4_splat(in_offset)));
  const v128_t gated = wasm_f32x4_mul(x, wasm_v128_load(gates));
  return V_add(V_whole(wasm_f32x4_mul(gated, wasm_f32x4_splat(scale)), 1), wasm_i32x4_splat(out_offset));
}

V_INLINE V_ints V_average(V_ints sums, float count, float step, float unit) {
  const v128_t mean = wasm_f32x4_div(wasm_f32x4_convert_i32x4(sums), wasm_f32x4_splat(count));
  return V_whole(wasm_f32x4_div(wasm_f32x4_mul(mean, wasm_f32x4_splat(step)), wasm_f32x4_splat(unit)), 1);
}

V_INLINE void V_narrow(uint8_t *p, V_ints a) {
  const v128_t whole = wasm_i16x8_narrow_i32x4(a, a);
  wasm_v128_store32_lane(p, wasm_u8x16_narrow_i16x8(whole, whole), 0);
}
