/* ==== WebAssembly: products of 16 bits, which are exact on every machine ================================= */

#define V_INLINE static inline __attribute__((always_inline))
#define V_KERNEL static __attribute__((noinline))
enum { V_LANES = 4, V_SLICE = 2, V_MOST_PIXELS = 5, V_SIGNED = 0 };
typedef v128_t V_ints, V_bytes;
typedef int16_t V_pixel;
static int V_is_supported(void) { return 1; } /* else the module could not have been loaded */

/* Loads with their offset in the instruction, which LLVM computes instead; and a sum that it may not move, for engines
   keep few registers apart: without both, tiles run at half the speed. */
#define V_LOAD_AT(to, instruction, from, offset) \
  __asm__ volatile("local.get %1\n\t" instruction " %2\n\tlocal.set %0" : "=r"(to) : "r"(from), "i"(offset))
#define V_IN_PLACE(sum) __asm__ volatile("" : "+r"(sum))

V_INLINE V_ints V_load(const void *p) { return wasm_v128_load(p); }
V_INLINE V_ints V_zero(void) { return wasm_i32x4_const_splat(0); }
V_INLINE V_ints V_add(V_ints a, V_ints b) { return wasm_i32x4_add(a, b); }
V_INLINE void V_store_ints(int32_t *p, V_ints a) { wasm_v128_store(p, a); }

/* The strip in 16 bits, up to the end of the last tile. */
V_INLINE const V_pixel *V_prepare(const uint8_t *strip, int pixels, int pitch, int size, uint8_t *scratch) {
  V_pixel *wide = (V_pixel *)(void *)(scratch + SINK_BYTES);
  const int count = (pixels + size - 1) / size * size * pitch;
  for (int i = 0; i < count; i += 16) {
    const v128_t values = wasm_v128_load(strip + i);
    wasm_v128_store(wide + i, wasm_u16x8_extend_low_u8x16(values));
    wasm_v128_store(wide + i + 8, wasm_u16x8_extend_high_u8x16(values));
  }
  return wide;
}

/* In matrix products a vector holds two channels, with two sums each: of the first two and the last two of four input
   channels. */
V_INLINE V_ints V_start(const int32_t *bias, int is_lifted) { return (void)is_lifted, wasm_u64x2_load32x2(bias); }
V_INLINE V_ints V_weights(const int8_t *p) { return wasm_i16x8_load8x8(p); }
V_INLINE V_ints V_broadcast(const V_pixel *p) { return wasm_v128_load64_splat(p); }
V_INLINE V_ints V_dot(V_ints sums, V_ints values, V_ints weights) {
  return V_add(sums, wasm_i32x4_dot_i16x8(values, weights));
}
V_INLINE V_ints V_dot_group(V_ints sums, const V_pixel *four, const int8_t *weights) {
  return V_dot(sums, V_broadcast(four), V_weights(weights));
}

/* Both sums of the channels of a and b. */
V_INLINE V_ints V_join(V_ints a, V_ints b) {
  return V_add(wasm_i32x4_shuffle(a, b, 0, 2, 4, 6), wasm_i32x4_shuffle(a, b, 1, 3, 5, 7));
}

V_INLINE void V_store_sums(int32_t *p, V_ints a) { wasm_v128_store64_lane(p, V_join(a, a), 0); }

/* To whole numbers, half to even, by way of the fraction's low bits, once nothing is too large for them. */
V_INLINE V_ints V_whole(v128_t values) {
  values = wasm_f32x4_pmax(wasm_f32x4_const_splat(-512), wasm_f32x4_pmin(wasm_f32x4_const_splat(512), values));
  return wasm_i32x4_sub(wasm_f32x4_add(values, wasm_f32x4_const_splat(12582912.0f)),
                        wasm_i32x4_const_splat(0x4B400000));
}

V_INLINE V_ints V_round(V_ints sums, v128_t scale, int32_t offset) {
  const V_ints whole = V_whole(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sums), scale));
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
  return V_add(V_whole(wasm_f32x4_mul(gated, wasm_f32x4_splat(scale))), wasm_i32x4_splat(out_offset));
}

V_INLINE V_ints V_average(V_ints sums, float count, float step, float unit) {
  const v128_t mean = wasm_f32x4_div(wasm_f32x4_convert_i32x4(sums), wasm_f32x4_splat(count));
  return V_whole(wasm_f32x4_div(wasm_f32x4_mul(mean, wasm_f32x4_splat(step)), wasm_f32x4_splat(unit)));
}

V_INLINE void V_narrow(uint8_t *p, V_ints a) {
  const v128_t whole = wasm_i16x8_narrow_i32x4(a, a);
  wasm_v128_store32_lane(p, wasm_u8x16_narrow_i16x8(whole, whole), 0);
}
