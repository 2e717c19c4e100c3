/* ---- vectors of 8 lanes, whatever multiplies them ---- */

enum { V_LANES = 8, V_SLICE = 8 };

V_INLINE V_ints V_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
V_INLINE V_ints V_zero(void) { return _mm256_setzero_si256(); }
V_INLINE V_ints V_add(V_ints a, V_ints b) { return _mm256_add_epi32(a, b); }
V_INLINE void V_store_ints(int32_t *p, V_ints a) { _mm256_storeu_si256((__m256i *)p, a); }
V_INLINE void V_store_sums(int32_t *p, V_ints a) { V_store_ints(p, a); }
V_INLINE V_ints V_start(const int32_t *bias, int is_lifted) { return (void)is_lifted, V_load(bias); }

/* Four bytes, or two of 16 bits, to all lanes. */
V_INLINE V_ints V_broadcast(const void *p) {
  int32_t all;
  memcpy(&all, p, 4);
  return _mm256_set1_epi32(all);
}

typedef struct {
  __m256 v[2];
} V_scales;
V_INLINE V_scales V_load_scales(const float *p, int vectors, int is_lifted) {
  (void)is_lifted;
  const V_scales s = {{_mm256_loadu_ps(p), _mm256_loadu_ps(vectors == 2 ? p + 16 : p)}};
  return s;
}

V_INLINE V_ints V_round(V_ints sums, __m256 scale, int32_t offset) {
  V_ints whole = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale));
  return offset ? V_add(whole, _mm256_set1_epi32(offset)) : whole;
}

/* Two pixels' sums: sixteen channels of each from pairs of vectors, else eight. */
V_INLINE void V_store(uint8_t *first, uint8_t *second, const V_ints *a, const V_ints *b, const V_scales *scale,
                      int32_t offset, int vectors) {
  if (vectors == 2) {
    V_ints low = _mm256_packs_epi32(V_round(a[0], scale->v[0], offset), V_round(a[1], scale->v[1], offset));
    V_ints high = _mm256_packs_epi32(V_round(b[0], scale->v[0], offset), V_round(b[1], scale->v[1], offset));
    V_ints both = _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xD8);
    _mm_storeu_si128((__m128i *)first, _mm256_castsi256_si128(both));
    _mm_storeu_si128((__m128i *)second, _mm256_extracti128_si256(both, 1));
  } else {
    V_ints both = _mm256_packs_epi32(V_round(a[0], scale->v[0], offset), V_round(b[0], scale->v[0], offset));
    both = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(both, both), _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
    _mm_storel_epi64((__m128i *)first, _mm256_castsi256_si128(both));
    _mm_storel_epi64((__m128i *)second, _mm_unpackhi_epi64(_mm256_castsi256_si128(both), _mm256_castsi256_si128(both)));
  }
}

/* Bytes of four rows, interleaved: V_TURN vectors from number `turn` on, of channels 16 · half + 4 · vector + lane. */
V_INLINE void V_interleave(const uint8_t *r0, const uint8_t *r1, const uint8_t *r2, const uint8_t *r3, int turn,
                           V_ints *d) {
  V_ints a = V_load(r0), b = V_load(r1), c = V_load(r2), e = V_load(r3);
  V_ints above = turn > 1 ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b);
  V_ints below = turn > 1 ? _mm256_unpackhi_epi8(c, e) : _mm256_unpacklo_epi8(c, e);
  if (turn % 2 == 0) d[0] = _mm256_unpacklo_epi16(above, below);
  if (turn % 2 == 1 || V_TURN == 2) d[V_TURN - 1] = _mm256_unpackhi_epi16(above, below);
}

V_INLINE void V_store_turn(uint8_t *out, const V_ints *sums, const float *scale, int32_t offset, int turn) {
  V_ints whole[V_TURN];
  UNROLL for (int j = 0; j < V_TURN; j++) whole[j] = V_round(sums[j], _mm256_loadu_ps(scale + 16 * j), offset);
  whole[0] = _mm256_packs_epi32(whole[0], whole[V_TURN - 1]);
  whole[0] = _mm256_packus_epi16(whole[0], whole[0]);
  const __m128i low = _mm256_castsi256_si128(whole[0]), high = _mm256_extracti128_si256(whole[0], 1);
  memcpy(out + 4 * turn, &low, 4 * V_TURN);
  memcpy(out + 16 + 4 * turn, &high, 4 * V_TURN);
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
