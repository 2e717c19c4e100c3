/* ---- dot products of four bytes, which are exact on some machines ---- */

enum { V_LANES = 4, V_SLICE = 4, V_TURN = 2, V_SUMS = 12, V_TAPS = 256, V_TAPS_ROOM = 6 * V_TAPS };
typedef uint8_t V_pixel;
typedef int8_t V_weight;
typedef v128_t V_bytes, V_held;

V_INLINE V_ints V_dot(V_ints sums, V_bytes bytes, V_ints weights) {
  return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(weights, bytes, sums);
}

/* Whether no sum saturates, wraps or takes a byte's sign for another, for pairs of products of extreme bytes. */
static int V_is_supported(void) {
  static const uint8_t values[] = {0, 1, 127, 128, 255};
  static const int8_t weights[] = {-128, -127, -1, 1, 127};
  for (int i = 0; i < 625; i++) {
    const int a = values[i % 5], b = values[i / 5 % 5], v = weights[i / 25 % 5], w = weights[i / 125];
    const v128_t bytes = V_AS_BYTES(wasm_i16x8_splat((int16_t)(a | b << 8)));
    const v128_t sums = V_dot(wasm_i32x4_splat(-i), bytes, wasm_i16x8_splat((int16_t)((v & 255) | w * 256)));
    const int wanted = 2 * ((a - 128 * V_SIGNED) * v + (b - 128 * V_SIGNED) * w) - i;
    if (!wasm_i32x4_all_true(wasm_i32x4_eq(sums, wasm_i32x4_splat(wanted)))) return 0;
  }
  return 1;
}

/* The strip as the products take it, up to the end of the last tile. */
V_INLINE const V_pixel *V_prepare(const uint8_t *strip, int pixels, int pitch, int size, uint8_t *scratch) {
  if (!V_SIGNED) return strip;
  V_pixel *to = scratch + SINK_BYTES;
  const int count = (pixels + size - 1) / size * size * pitch;
  for (int i = 0; i < count; i += 16) wasm_v128_store(to + i, V_AS_BYTES(V_load(strip + i)));
  return to;
}

V_INLINE V_ints V_start(const int32_t *bias, int is_lifted) { return (void)is_lifted, V_load(bias); }
V_INLINE V_ints V_dot_group(V_ints sums, const V_pixel *four, const int8_t *weights) {
  return V_dot(sums, wasm_v128_load32_splat(four), V_load(weights));
}
V_INLINE void V_store_sums(int32_t *p, V_ints a) { V_store_ints(p, a); }

/* Copies, which the compiler keeps in registers or on the stack: stores of outputs cannot change them. */
V_INLINE const V_weight *V_prepare_taps(const int8_t *taps, int count, V_weight *room) {
  UNROLL for (int i = 0; i < 4 * count; i++) wasm_v128_store(room + 64 * i, V_load(taps + 64 * i));
  return room;
}
V_INLINE V_held V_hold(const V_weight *taps) { return V_load(taps); }
V_INLINE V_ints V_dot_taps(V_ints sums, V_bytes bytes, V_held taps) { return V_dot(sums, bytes, taps); }

/* Eight bytes of four rows, interleaved: vector j holds channels 4 · (turn + j) + lane, four bytes each. Twice as many
   would not leave registers enough for the sums of two outputs. */
V_INLINE void V_interleave(const uint8_t *r0, const uint8_t *r1, const uint8_t *r2, const uint8_t *r3, int turn,
                           V_bytes *d) {
#define V_ZIP(p, q)                                                                                                  \
  wasm_i8x16_shuffle(wasm_v128_load64_zero(p + 4 * turn), wasm_v128_load64_zero(q + 4 * turn), 0, 16, 1, 17, 2, 18, 3, \
                     19, 4, 20, 5, 21, 6, 22, 7, 23)
  const v128_t above = V_ZIP(r0, r1), below = V_ZIP(r2, r3);
  d[0] = V_AS_BYTES(wasm_i16x8_shuffle(above, below, 0, 8, 1, 9, 2, 10, 3, 11));
  d[1] = V_AS_BYTES(wasm_i16x8_shuffle(above, below, 4, 12, 5, 13, 6, 14, 7, 15));
#undef V_ZIP
}

V_INLINE void V_store_turn(uint8_t *out, const V_ints *sums, const float *scale, int32_t offset, int turn) {
  const v128_t whole = wasm_i16x8_narrow_i32x4(V_round(sums[0], wasm_v128_load(scale), offset),
                                               V_round(sums[1], wasm_v128_load(scale + 16), offset));
  wasm_v128_store64_lane(out + 4 * turn, wasm_u8x16_narrow_i16x8(whole, whole), 0);
}
