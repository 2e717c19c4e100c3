/* ---- what products of 16 bits need: weights widened before they are used again and again ---- */

/* Each lane's four weights become two vectors of two: the first and the third, the second and the last. */
enum { V_WEIGHTS = 32, V_TAPS = 32, V_TAPS_ROOM = 6 * V_TAPS };

typedef struct {
  V_ints even, odd;
} V_held;
V_INLINE V_held V_halves(V_ints four) {
  const V_held held = {_mm256_srai_epi16(_mm256_slli_epi16(four, 8), 8), _mm256_srai_epi16(four, 8)};
  return held;
}
V_INLINE void V_widen_weights(V_weight *to, const int8_t *weights) {
  const V_held held = V_halves(V_load(weights));
  V_store_ints((int32_t *)(void *)to, held.even);
  V_store_ints((int32_t *)(void *)(to + 16), held.odd);
}
V_INLINE V_held V_hold(const V_weight *wide) {
  const V_held held = {V_load(wide), V_load(wide + 16)};
  return held;
}
V_INLINE V_ints V_dot_taps(V_ints sums, V_ints bytes, V_held taps) {
  sums = V_dot(sums, _mm256_and_si256(bytes, _mm256_set1_epi16(255)), taps.even);
  return V_dot(sums, _mm256_srli_epi16(bytes, 8), taps.odd);
}

V_INLINE const V_pixel *V_prepare(const uint8_t *strip, int pixels, int pitch, int size, uint8_t *scratch) {
  return (void)pixels, (void)pitch, (void)size, (void)scratch, strip;
}

/* The weights of some groups, numbers from *at on; `step` is what they are apart. */
V_INLINE const V_weight *V_prepare_weights(const int8_t *weights, const group_number *at, const group_number *end, int step,
                                           int vectors, uint8_t *scratch) {
  V_weight *wide = (V_weight *)(void *)(scratch + SINK_BYTES), *to = wide;
  for (; at < end; at++)
    UNROLL for (int v = 0; v < vectors; v++, to += V_WEIGHTS) V_widen_weights(to, weights + *at * step + 64 * v);
  return wide;
}

/* sums + the products of four input channels, with weights as they lie in memory. */
V_INLINE V_ints V_dot_group(V_ints sums, const V_pixel *four, const int8_t *weights) {
  return V_dot_taps(sums, V_broadcast(four), V_halves(V_load(weights)));
}

V_INLINE const V_weight *V_prepare_taps(const int8_t *taps, int count, V_weight *room) {
  UNROLL for (int i = 0; i < count; i++) V_widen_weights(room + V_TAPS * i, taps + 256 * i);
  return room;
}
