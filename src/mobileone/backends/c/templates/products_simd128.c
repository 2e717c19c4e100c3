/* ==== WebAssembly: products of 16 bits, which are exact on every machine ================================= */

enum { V_LANES = 4, V_SLICE = 2, V_MOST_PIXELS = 5, V_SIGNED = 0, V_TURN = 1, V_TAPS = 16, V_TAPS_ROOM = 6 * V_TAPS };
typedef int16_t V_pixel, V_weight;
static int V_is_supported(void) { return 1; } /* else the module could not have been loaded */

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

/* In depthwise convolutions, rows 0 and 1, then 2 and 3, in 16 bits. */
typedef struct {
  v128_t above, below;
} V_bytes, V_held;

/* Taps of four channels, (channel, row) bytes. */
V_INLINE const V_weight *V_prepare_taps(const int8_t *taps, int count, V_weight *room) {
  UNROLL for (int i = 0; i < count; i++) {
    const v128_t bytes = wasm_v128_load(taps + 256 * i);
    const v128_t split = wasm_i16x8_shuffle(bytes, bytes, 0, 2, 4, 6, 1, 3, 5, 7);
    wasm_v128_store(room + V_TAPS * i, wasm_i16x8_extend_low_i8x16(split));
    wasm_v128_store(room + V_TAPS * i + 8, wasm_i16x8_extend_high_i8x16(split));
  }
  return room;
}
V_INLINE V_held V_hold(const V_weight *taps) {
  const V_held held = {wasm_v128_load(taps), wasm_v128_load(taps + 8)};
  return held;
}
V_INLINE V_ints V_dot_taps(V_ints sums, V_bytes rows, V_held taps) {
  return V_dot(V_dot(sums, rows.above, taps.above), rows.below, taps.below);
}

V_INLINE v128_t V_two_rows_of_four(const uint8_t *upper, const uint8_t *lower) {
  const v128_t a = wasm_v128_load32_zero(upper), b = wasm_v128_load32_zero(lower);
  return wasm_u16x8_extend_low_u8x16(
      wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
}
V_INLINE void V_interleave(const uint8_t *r0, const uint8_t *r1, const uint8_t *r2, const uint8_t *r3, int turn,
                           V_bytes *d) {
  d[0].above = V_two_rows_of_four(r0 + 4 * turn, r1 + 4 * turn);
  d[0].below = V_two_rows_of_four(r2 + 4 * turn, r3 + 4 * turn);
}

V_INLINE void V_store_turn(uint8_t *out, const V_ints *sums, const float *scale, int32_t offset, int turn) {
  V_narrow(out + 4 * turn, V_round(sums[0], wasm_v128_load(scale), offset));
}
