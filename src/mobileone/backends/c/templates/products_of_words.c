/* ---- what products of 16 bits need: values and weights widened before they are used again and again ---- */

/* Each lane's four weights become two vectors of two. */
enum { V_PARTS = 2, V_WEIGHTS = 32, V_TAPS = 32, V_TAPS_ROOM = 6 * V_TAPS };

/* The strip, up to the end of the last tile. */
V_INLINE const V_pixel *V_prepare(const uint8_t *strip, int pixels, int pitch, int size, uint8_t *scratch) {
  V_pixel *wide = (V_pixel *)(void *)(scratch + SINK_BYTES + WIDE_WEIGHTS_BYTES);
  const int count = (pixels + size - 1) / size * size * pitch;
  for (int i = 0; i < count; i += 16)
    _mm256_storeu_si256((__m256i *)(void *)(wide + i),
                        _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(strip + i))));
  return wide;
}

/* The first two (0) or the last two (1) of four weights a lane. */
V_INLINE V_ints V_two_of_four(V_ints four, int part) {
  const V_ints first = _mm256_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1, 0, -1, 1, -1, 4,
                                        -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
  const V_ints last = _mm256_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1, 2, -1, 3, -1, 6,
                                       -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
  return _mm256_srai_epi16(_mm256_shuffle_epi8(four, part ? last : first), 8);
}

/* The weights of some vectors, `apart` bytes from one group of input channels to the next. */
V_INLINE const V_weight *V_prepare_weights(const int8_t *weights, int groups, int apart, int vectors,
                                           uint8_t *scratch) {
  V_weight *wide = (V_weight *)(void *)(scratch + SINK_BYTES), *to = wide;
  for (int k = 0; k < groups; k++, weights += apart)
    UNROLL for (int v = 0; v < vectors; v++, to += V_WEIGHTS) {
      const V_ints four = V_load(weights + 64 * v);
      V_store_ints((int32_t *)(void *)to, V_two_of_four(four, 0));
      V_store_ints((int32_t *)(void *)(to + 16), V_two_of_four(four, 1));
    }
  return wide;
}
V_INLINE int V_weights_apart(int apart, int vectors) { return (void)apart, V_WEIGHTS * vectors; }

/* sums + the products of four input channels, with weights as they lie in memory. */
V_INLINE V_ints V_dot_group(V_ints sums, const V_pixel *four, const int8_t *weights) {
  const V_ints w = V_load(weights);
  sums = V_dot(sums, V_broadcast(four), V_two_of_four(w, 0));
  return V_dot(sums, V_broadcast(four + 2), V_two_of_four(w, 1));
}

/* Of four rows, 0 and 2, then 1 and 3. */
V_INLINE const V_weight *V_prepare_taps(const int8_t *taps, int count, V_weight *room) {
  UNROLL for (int i = 0; i < count; i++) {
    const V_ints four = V_load(taps + 256 * i);
    V_store_ints((int32_t *)(void *)(room + V_TAPS * i), _mm256_srai_epi16(_mm256_slli_epi16(four, 8), 8));
    V_store_ints((int32_t *)(void *)(room + V_TAPS * i + 16), _mm256_srai_epi16(four, 8));
  }
  return room;
}

typedef struct {
  V_ints even, odd;
} V_held;
V_INLINE V_held V_hold(const V_weight *taps) {
  const V_held held = {V_load(taps), V_load(taps + 16)};
  return held;
}
V_INLINE V_ints V_dot_taps(V_ints sums, V_ints bytes, V_held taps) {
  sums = V_dot(sums, _mm256_and_si256(bytes, _mm256_set1_epi16(255)), taps.even);
  return V_dot(sums, _mm256_srli_epi16(bytes, 8), taps.odd);
}
