/* ==== AVX2: products of 16 bits, which are exact; those of bytes saturate ================================ */

#define V_TARGET __attribute__((target("avx2")))
#define V_INLINE V_TARGET static inline __attribute__((always_inline))
#define V_KERNEL V_TARGET static __attribute__((noinline))
enum { V_LANES = 8, V_SLICE = 4, V_TURN = 1, V_MOST_PIXELS = 6, V_SIGNED = 0 };
typedef __m256i V_ints, V_bytes;
typedef int16_t V_pixel;

V_INLINE V_ints V_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
V_INLINE V_ints V_zero(void) { return _mm256_setzero_si256(); }
V_INLINE V_ints V_add(V_ints a, V_ints b) { return _mm256_add_epi32(a, b); }
V_INLINE void V_store_ints(int32_t *p, V_ints a) { _mm256_storeu_si256((__m256i *)p, a); }

/* The strip in 16 bits, up to the end of the last tile. */
V_INLINE const V_pixel *V_prepare(const uint8_t *strip, int pixels, int pitch, int size, uint8_t *scratch) {
  V_pixel *wide = (V_pixel *)(void *)(scratch + SINK_BYTES);
  const int count = (pixels + size - 1) / size * size * pitch;
  for (int i = 0; i < count; i += 16)
    _mm256_storeu_si256((__m256i *)(void *)(wide + i),
                        _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(strip + i))));
  return wide;
}

/* In matrix products a vector holds four channels, with two sums each: of the first two and the last two of four
   input channels. */
V_INLINE V_ints V_start(const int32_t *bias) { return _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)bias)); }
V_INLINE V_ints V_weights(const int8_t *p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p)); }

V_INLINE V_ints V_broadcast(const V_pixel *p) {
  int64_t four;
  memcpy(&four, p, 8);
  return _mm256_set1_epi64x(four);
}

V_INLINE V_ints V_dot(V_ints sums, V_ints values, V_ints weights) {
  return V_add(sums, _mm256_madd_epi16(values, weights));
}

/* Both sums of four channels each of a and b. */
V_INLINE V_ints V_join(V_ints a, V_ints b) { return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xD8); }

V_INLINE void V_store_sums(int32_t *p, V_ints a) {
  _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(V_join(a, a)));
}

typedef struct {
  __m256 v;
} V_scales;
V_INLINE V_scales V_load_scales(const float *p, int vectors) {
  const V_scales s = {_mm256_set_m128(_mm_loadu_ps(vectors == 2 ? p + 16 : p), _mm_loadu_ps(p))};
  return s;
}

V_INLINE V_ints V_round(V_ints sums, __m256 scale, int32_t offset) {
  V_ints whole = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale));
  return offset ? V_add(whole, _mm256_set1_epi32(offset)) : whole;
}

/* Two pixels' sums: eight channels of each from pairs of vectors, else four. */
V_INLINE void V_store(uint8_t *first, uint8_t *second, const V_ints *a, const V_ints *b, const V_scales *scale,
                      int32_t offset, int vectors) {
  if (vectors == 2) {
    V_ints both = _mm256_packs_epi32(V_round(V_join(a[0], a[1]), scale->v, offset),
                                     V_round(V_join(b[0], b[1]), scale->v, offset));
    both = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(both, both), _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
    _mm_storel_epi64((__m128i *)first, _mm256_castsi256_si128(both));
    _mm_storel_epi64((__m128i *)second, _mm_unpackhi_epi64(_mm256_castsi256_si128(both), _mm256_castsi256_si128(both)));
  } else {
    V_ints both = V_round(V_join(a[0], b[0]), scale->v, offset);
    both = _mm256_packs_epi32(both, both);
    both = _mm256_packus_epi16(both, both);
    const int32_t one = _mm256_extract_epi32(both, 0), other = _mm256_extract_epi32(both, 4);
    memcpy(first, &one, 4);
    memcpy(second, &other, 4);
  }
}

/* Bytes of four rows, interleaved: vector `turn`, of channels 16 · half + 4 · turn + lane. */
V_INLINE void V_interleave(const uint8_t *r0, const uint8_t *r1, const uint8_t *r2, const uint8_t *r3, int turn,
                           V_ints *d) {
  V_ints a = V_load(r0), b = V_load(r1), c = V_load(r2), e = V_load(r3);
  V_ints above = turn > 1 ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b);
  V_ints below = turn > 1 ? _mm256_unpackhi_epi8(c, e) : _mm256_unpacklo_epi8(c, e);
  d[0] = turn % 2 ? _mm256_unpackhi_epi16(above, below) : _mm256_unpacklo_epi16(above, below);
}

/* Rows 0 and 2, then 1 and 3, of values and of weights. */
V_INLINE V_ints V_dot_taps(V_ints sums, V_ints bytes, const int8_t *w) {
  const V_ints taps = V_load(w);
  sums = V_dot(sums, _mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(taps, 8), 8));
  return V_dot(sums, _mm256_srli_epi16(bytes, 8), _mm256_srai_epi16(taps, 8));
}

V_INLINE void V_store_turn(uint8_t *out, const V_ints *sums, const float *scale, int32_t offset, int turn) {
  V_ints whole = V_round(sums[0], _mm256_loadu_ps(scale), offset);
  whole = _mm256_packs_epi32(whole, whole);
  whole = _mm256_packus_epi16(whole, whole);
  const int32_t low = _mm256_extract_epi32(whole, 0), high = _mm256_extract_epi32(whole, 4);
  memcpy(out + 4 * turn, &low, 4);
  memcpy(out + 16 + 4 * turn, &high, 4);
}

enum { V_DOUBLES = 4 };
typedef __m256d V_doubles;
V_INLINE V_doubles V_load_doubles(const double *p) { return _mm256_loadu_pd(p); }
V_INLINE void V_store_doubles(double *p, V_doubles a) { _mm256_storeu_pd(p, a); }
V_INLINE V_doubles V_multiply_add(V_doubles sum, const float *w, double x) {
  return _mm256_add_pd(sum, _mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(w)), _mm256_set1_pd(x)));
}

/* Eight bytes as lanes, and back. */
V_INLINE V_ints V_widen(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }

V_INLINE V_ints V_gate(V_ints value, int in_offset, const float *gates, float scale, int out_offset) {
  __m256 x = _mm256_cvtepi32_ps(_mm256_sub_epi32(value, _mm256_set1_epi32(in_offset)));
  x = _mm256_mul_ps(_mm256_mul_ps(x, _mm256_loadu_ps(gates)), _mm256_set1_ps(scale));
  return V_add(_mm256_cvtps_epi32(x), _mm256_set1_epi32(out_offset));
}

V_INLINE V_ints V_average(V_ints sums, float count, float step, float unit) {
  const __m256 mean = _mm256_div_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(count));
  return _mm256_cvtps_epi32(_mm256_div_ps(_mm256_mul_ps(mean, _mm256_set1_ps(step)), _mm256_set1_ps(unit)));
}

V_INLINE void V_narrow(uint8_t *p, V_ints a) {
  V_ints whole = _mm256_packs_epi32(a, a);
  whole = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(whole, whole), _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
  _mm_storel_epi64((__m128i *)p, _mm256_castsi256_si128(whole));
}
