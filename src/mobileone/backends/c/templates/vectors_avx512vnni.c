/* ==== AVX-512 VNNI: 16 lanes ============================================================================ */

#define V_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define V_INLINE V_TARGET static inline __attribute__((always_inline))
#define V_KERNEL V_TARGET static __attribute__((noinline))
enum { V_LANES = 16, V_SLICE = 16, V_TURN = 4, V_MOST_PIXELS = 14, V_SIGNED = 0 };
typedef __m512i V_ints, V_bytes;
typedef uint8_t V_pixel;
typedef int8_t V_weight;

V_INLINE V_ints V_load(const void *p) { return _mm512_loadu_si512(p); }
V_INLINE V_ints V_start(const int32_t *bias) { return V_load(bias); }
V_INLINE V_ints V_weights(const V_weight *p) { return V_load(p); }

V_INLINE V_ints V_broadcast(const uint8_t *p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

/* sums + dot products of four unsigned and four signed bytes a lane. As an instruction: gcc 12 makes copies of the
   sums around the intrinsic and runs out of registers. */
V_INLINE V_ints V_dot(V_ints sums, V_ints bytes, V_ints weights) {
#ifdef __clang__
  return _mm512_dpbusd_epi32(sums, bytes, weights);
#else
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(bytes), "vm"(weights));
  return sums;
#endif
}

typedef struct {
  __m512 v[3];
} V_scales;
V_INLINE V_scales V_load_scales(const float *p, int vectors) {
  V_scales s;
  UNROLL for (int v = 0; v < 3; v++) s.v[v] = _mm512_loadu_ps(p + (v < vectors ? 16 * v : 0));
  return s;
}

V_INLINE V_ints V_round(V_ints sums, __m512 scale, int32_t offset) {
  V_ints whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale));
  return offset ? _mm512_add_epi32(whole, _mm512_set1_epi32(offset)) : whole;
}

/* Two pixels' sums, 16 · vectors channels of each. */
V_INLINE void V_store(uint8_t *first, uint8_t *second, const V_ints *a, const V_ints *b, const V_scales *scale,
                      int32_t offset, int vectors) {
  if (vectors == 2) {
    V_ints low = _mm512_packs_epi32(V_round(a[0], scale->v[0], offset), V_round(a[1], scale->v[1], offset));
    V_ints high = _mm512_packs_epi32(V_round(b[0], scale->v[0], offset), V_round(b[1], scale->v[1], offset));
    V_ints both = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), _mm512_packus_epi16(low, high));
    _mm256_storeu_si256((__m256i *)first, _mm512_castsi512_si256(both));
    _mm256_storeu_si256((__m256i *)second, _mm512_extracti64x4_epi64(both, 1));
    return;
  }
  UNROLL for (int i = 0; i < 2; i++) {
    const V_ints *sums = i ? b : a;
    uint8_t *out = i ? second : first;
    V_ints last = V_round(sums[vectors - 1], scale->v[vectors - 1], offset);
    last = _mm512_packs_epi32(last, last);
    if (vectors == 1) {
      last = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
                                      _mm512_packus_epi16(last, last));
      _mm_storeu_si128((__m128i *)out, _mm512_castsi512_si128(last));
    } else {
      V_ints pair = _mm512_packs_epi32(V_round(sums[0], scale->v[0], offset), V_round(sums[1], scale->v[1], offset));
      pair = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 6, 10, 14, 0, 0, 0, 0),
                                      _mm512_packus_epi16(pair, last));
      _mm256_storeu_si256((__m256i *)out, _mm512_castsi512_si256(pair));
      _mm_storeu_si128((__m128i *)(out + 32), _mm512_extracti32x4_epi32(pair, 2));
    }
  }
}

/* Bytes of four rows, interleaved: vector j holds channels 16 · quarter + 4 · j + lane, four bytes each. The loads
   are pinned: folded into the unpacks, each would be done twice. */
V_INLINE void V_interleave(const uint8_t *r0, const uint8_t *r1, const uint8_t *r2, const uint8_t *r3, int turn, V_ints *d) {
  (void)turn;
  V_ints a = V_load(r0), b = V_load(r1), c = V_load(r2), e = V_load(r3);
  __asm__("" : "+v"(a), "+v"(b), "+v"(c), "+v"(e));
  V_ints low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b);
  V_ints low2 = _mm512_unpacklo_epi8(c, e), high2 = _mm512_unpackhi_epi8(c, e);
  d[0] = _mm512_unpacklo_epi16(low, low2);
  d[1] = _mm512_unpackhi_epi16(low, low2);
  d[2] = _mm512_unpacklo_epi16(high, high2);
  d[3] = _mm512_unpackhi_epi16(high, high2);
}

V_INLINE void V_store_turn(uint8_t *out, const V_ints *sums, const float *scale, int32_t offset,
                           int turn) {
  (void)turn;
  V_ints whole[4];
  UNROLL for (int j = 0; j < 4; j++) whole[j] = V_round(sums[j], _mm512_loadu_ps(scale + 16 * j), offset);
  const V_ints low = _mm512_packs_epi32(whole[0], whole[1]), high = _mm512_packs_epi32(whole[2], whole[3]);
  _mm512_storeu_si512(out, _mm512_packus_epi16(low, high));
}

enum { V_DOUBLES = 8 };
typedef __m512d V_doubles;
V_INLINE V_doubles V_load_doubles(const double *p) { return _mm512_loadu_pd(p); }
V_INLINE void V_store_doubles(double *p, V_doubles a) { _mm512_storeu_pd(p, a); }
V_INLINE V_doubles V_multiply_add(V_doubles sum, const float *w, double x) {
  return _mm512_fmadd_pd(_mm512_cvtps_pd(_mm256_loadu_ps(w)), _mm512_set1_pd(x), sum);
}

/* Sixteen bytes as lanes, and back. */
V_INLINE V_ints V_widen(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
V_INLINE V_ints V_add(V_ints a, V_ints b) { return _mm512_add_epi32(a, b); }
V_INLINE V_ints V_zero(void) { return _mm512_setzero_si512(); }
V_INLINE void V_store_ints(int32_t *p, V_ints a) { _mm512_storeu_si512(p, a); }
V_INLINE V_ints V_gate(V_ints value, int in_offset, const float *gates, float scale, int out_offset) {
  __m512 x = _mm512_cvtepi32_ps(_mm512_sub_epi32(value, _mm512_set1_epi32(in_offset)));
  x = _mm512_mul_ps(_mm512_mul_ps(x, _mm512_loadu_ps(gates)), _mm512_set1_ps(scale));
  return _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(out_offset));
}
V_INLINE V_ints V_average(V_ints sums, float count, float step, float unit) {
  const __m512 mean = _mm512_div_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(count));
  return _mm512_cvtps_epi32(_mm512_div_ps(_mm512_mul_ps(mean, _mm512_set1_ps(step)), _mm512_set1_ps(unit)));
}
V_INLINE void V_narrow(uint8_t *p, V_ints a) {
  _mm_storeu_si128((__m128i *)p, _mm512_cvtusepi32_epi8(_mm512_max_epi32(a, _mm512_setzero_si512())));
}
