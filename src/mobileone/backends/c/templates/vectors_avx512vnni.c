/* ==== AVX-512 VNNI: 16 lanes ============================================================================ */

#define V_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define V_INLINE V_TARGET static inline __attribute__((always_inline))
#define V_KERNEL V_TARGET static __attribute__((noinline))
enum { V_LANES = 16, V_SLICE = 16, V_TURN = 4, V_MOST_PIXELS = 14, V_SIGNED = 0 };
typedef __m512i V_ints, V_bytes;
typedef uint8_t V_pixel;
typedef int8_t V_weight;
typedef V_ints V_held;

V_INLINE V_ints V_load(const void *p) { return _mm512_loadu_si512(p); }
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

/* A sum that began at the bits of 2^23 is, its bits read as a float, 2^23 more than it: exactly, where it lies between
   0 and 2^23. Taking scale · 2^23 away while multiplying is then one instruction with one rounding, where converting
   and multiplying are two; the result has the same bits. Negative sums stay negative, which is all that counts; sums
   above are cut to 255 either way. packing.py looks for layers of which that holds. */
V_INLINE V_ints V_start(const int32_t *bias, int is_lifted) {
  return is_lifted ? _mm512_add_epi32(V_load(bias), _mm512_set1_epi32(LIFT)) : V_load(bias);
}

typedef struct {
  __m512 v[3], shift[3];
  int is_lifted;
} V_scales;
V_INLINE V_scales V_load_scales(const float *p, int vectors, int is_lifted) {
  V_scales s = {.is_lifted = is_lifted};
  UNROLL for (int v = 0; v < vectors; v++) {
    s.v[v] = _mm512_loadu_ps(p + 16 * v);
    /* times -2^23: 23 more in the exponent, and the other sign */
    const V_ints bits = _mm512_castps_si512(s.v[v]);
    s.shift[v] = _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32((int)0x8B800000u)));
  }
  return s;
}

V_INLINE V_ints V_round(V_ints sums, __m512 scale, int32_t offset) {
  V_ints whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale));
  return offset ? _mm512_add_epi32(whole, _mm512_set1_epi32(offset)) : whole;
}

/* Two vectors of sums, numbers v and w, as 16 bits. */
V_INLINE V_ints V_halve(const V_ints *sums, const V_scales *s, int v, int w, int32_t offset) {
  if (s->is_lifted) {
    const __m512 first = _mm512_fmadd_ps(_mm512_castsi512_ps(sums[v]), s->v[v], s->shift[v]);
    const __m512 second = _mm512_fmadd_ps(_mm512_castsi512_ps(sums[w]), s->v[w], s->shift[w]);
    return _mm512_packs_epi32(_mm512_cvtps_epi32(first), _mm512_cvtps_epi32(second));
  }
  return _mm512_packs_epi32(V_round(sums[v], s->v[v], offset), V_round(sums[w], s->v[w], offset));
}

/* Two pixels' sums, 16 · vectors channels of each. */
V_INLINE void V_store(uint8_t *first, uint8_t *second, const V_ints *a, const V_ints *b, const V_scales *scale,
                      int32_t offset, int vectors) {
  const V_ints pairs = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  if (vectors == 2) {
    V_ints both = _mm512_packus_epi16(V_halve(a, scale, 0, 1, offset), V_halve(b, scale, 0, 1, offset));
    both = _mm512_permutexvar_epi64(pairs, both);
    _mm256_storeu_si256((__m256i *)first, _mm512_castsi512_si256(both));
    _mm256_storeu_si256((__m256i *)second, _mm512_extracti64x4_epi64(both, 1));
    return;
  }
  UNROLL for (int i = 0; i < 2; i++) {
    const V_ints *sums = i ? b : a;
    uint8_t *out = i ? second : first;
    V_ints bytes = V_halve(sums, scale, vectors - 1, vectors - 1, offset);
    bytes = _mm512_packus_epi16(vectors == 1 ? bytes : V_halve(sums, scale, 0, 1, offset), bytes);
    if (vectors == 1) {
      const V_ints lanes = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
      _mm_storeu_si128((__m128i *)out, _mm512_castsi512_si128(_mm512_permutexvar_epi32(lanes, bytes)));
    } else {
      const V_ints lanes = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 6, 10, 14, 0, 0, 0, 0);
      bytes = _mm512_permutexvar_epi32(lanes, bytes);
      _mm256_storeu_si256((__m256i *)out, _mm512_castsi512_si256(bytes));
      _mm_storeu_si128((__m128i *)(out + 32), _mm512_extracti32x4_epi32(bytes, 2));
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

/* Half of that, vectors number `turn` and the next, with the taps of both rows of output in registers beside the sums. */
#define V_HOLDS_TAPS 1
enum { V_TURN_1 = 2 };
typedef V_scales V_steps;
V_INLINE V_steps V_load_steps(const float *p, int is_lifted) { return V_load_scales(p, V_TURN_1, is_lifted); }

V_INLINE void V_interleave_1(const uint8_t *r0, const uint8_t *r1, const uint8_t *r2, const uint8_t *r3, int turn,
                             V_ints *d) {
  const V_ints a = V_load(r0), b = V_load(r1), c = V_load(r2), e = V_load(r3);
  const V_ints above = turn ? _mm512_unpackhi_epi8(a, b) : _mm512_unpacklo_epi8(a, b);
  const V_ints below = turn ? _mm512_unpackhi_epi8(c, e) : _mm512_unpacklo_epi8(c, e);
  d[0] = _mm512_unpacklo_epi16(above, below);
  d[1] = _mm512_unpackhi_epi16(above, below);
}

/* Of every sixteen channels the first eight or the last. */
V_INLINE void V_store_turn_1(uint8_t *out, const V_ints *sums, V_steps scale, int32_t offset, int turn) {
  const V_ints half = V_halve(sums, &scale, 0, 1, offset);
  _mm512_mask_storeu_epi64(out, turn ? 0xAA : 0x55, _mm512_packus_epi16(half, half));
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
V_INLINE void V_store_sums(int32_t *p, V_ints a) { _mm512_storeu_si512(p, a); }
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
