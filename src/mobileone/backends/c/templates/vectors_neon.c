/* ---- vectors of 4 lanes ---- */

enum { V_LANES = 4, V_SLICE = 4, V_TURN = 4, V_MOST_PIXELS = 5 };
typedef uint8_t V_pixel;
typedef int8_t V_weight;
typedef int8x16_t V_held;

V_INLINE V_ints V_load(const int32_t *p) { return vld1q_s32(p); }
V_INLINE V_ints V_zero(void) { return vdupq_n_s32(0); }
V_INLINE V_ints V_add(V_ints a, V_ints b) { return vaddq_s32(a, b); }
V_INLINE void V_store_ints(int32_t *p, V_ints a) { vst1q_s32(p, a); }

V_INLINE V_ints V_start(const int32_t *bias, int is_lifted) { return (void)is_lifted, V_load(bias); }
V_INLINE void V_store_sums(int32_t *p, V_ints a) { V_store_ints(p, a); }
V_INLINE int8x16_t V_weights(const int8_t *p) { return vld1q_s8(p); }

V_INLINE V_bytes V_broadcast(const uint8_t *p) {
  uint32_t four;
  memcpy(&four, p, 4);
  return V_as_bytes(vreinterpretq_u8_u32(vdupq_n_u32(four)));
}

V_INLINE V_ints V_round(V_ints sums, const float *scale, int32_t offset) {
  V_ints whole = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(scale)));
  return offset ? V_add(whole, vdupq_n_s32(offset)) : whole;
}

/* Sixteen channels of four vectors, with the scales of each. */
V_INLINE void V_store_four(uint8_t *out, const V_ints *sums, const float *const *scale, int32_t offset) {
  const int16x8_t low = vcombine_s16(vqmovn_s32(V_round(sums[0], scale[0], offset)),
                                     vqmovn_s32(V_round(sums[1], scale[1], offset)));
  const int16x8_t high = vcombine_s16(vqmovn_s32(V_round(sums[2], scale[2], offset)),
                                      vqmovn_s32(V_round(sums[3], scale[3], offset)));
  vst1q_u8(out, vcombine_u8(vqmovun_s16(low), vqmovun_s16(high)));
}

/* Bytes of four rows, interleaved: vector j holds channels 4 · j + lane, four bytes each. */
V_INLINE void V_interleave(const uint8_t *r0, const uint8_t *r1, const uint8_t *r2, const uint8_t *r3, int turn,
                           V_bytes *d) {
  const uint8x16_t a = vld1q_u8(r0), b = vld1q_u8(r1), c = vld1q_u8(r2), e = vld1q_u8(r3);
  const uint16x8_t low = vreinterpretq_u16_u8(vzip1q_u8(a, b)), high = vreinterpretq_u16_u8(vzip2q_u8(a, b));
  const uint16x8_t low2 = vreinterpretq_u16_u8(vzip1q_u8(c, e)), high2 = vreinterpretq_u16_u8(vzip2q_u8(c, e));
  (void)turn;
  d[0] = V_as_bytes(vreinterpretq_u8_u16(vzip1q_u16(low, low2)));
  d[1] = V_as_bytes(vreinterpretq_u8_u16(vzip2q_u16(low, low2)));
  d[2] = V_as_bytes(vreinterpretq_u8_u16(vzip1q_u16(high, high2)));
  d[3] = V_as_bytes(vreinterpretq_u8_u16(vzip2q_u16(high, high2)));
}

V_INLINE void V_store_turn(uint8_t *out, const V_ints *sums, const float *scale, int32_t offset, int turn) {
  const float *const scales[4] = {scale, scale + 16, scale + 32, scale + 48};
  (void)turn;
  V_store_four(out, sums, scales, offset);
}

enum { V_DOUBLES = 2 };
typedef float64x2_t V_doubles;
V_INLINE V_doubles V_load_doubles(const double *p) { return vld1q_f64(p); }
V_INLINE void V_store_doubles(double *p, V_doubles a) { vst1q_f64(p, a); }
V_INLINE V_doubles V_multiply_add(V_doubles sum, const float *w, double x) {
  return vfmaq_n_f64(sum, vcvt_f64_f32(vld1_f32(w)), x);
}

/* Four bytes as lanes, and back. */
V_INLINE V_ints V_widen(const uint8_t *p) {
  uint32_t four;
  memcpy(&four, p, 4);
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}

V_INLINE V_ints V_gate(V_ints value, int in_offset, const float *gates, float scale, int out_offset) {
  const float32x4_t x = vcvtq_f32_s32(vsubq_s32(value, vdupq_n_s32(in_offset)));
  return V_add(vcvtnq_s32_f32(vmulq_n_f32(vmulq_f32(x, vld1q_f32(gates)), scale)), vdupq_n_s32(out_offset));
}

V_INLINE V_ints V_average(V_ints sums, float count, float step, float unit) {
  const float32x4_t mean = vdivq_f32(vcvtq_f32_s32(sums), vdupq_n_f32(count));
  return vcvtnq_s32_f32(vdivq_f32(vmulq_n_f32(mean, step), vdupq_n_f32(unit)));
}

V_INLINE void V_narrow(uint8_t *p, V_ints a) {
  const int16x4_t whole = vqmovn_s32(a);
  const uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vqmovun_s16(vcombine_s16(whole, whole))), 0);
  memcpy(p, &four, 4);
}
