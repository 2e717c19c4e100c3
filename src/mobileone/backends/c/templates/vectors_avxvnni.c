/* ==== AVX-VNNI: dot products of 32 bytes ================================================================ */

#define V_TARGET __attribute__((target("avx2,avxvnni")))
#define V_INLINE V_TARGET static inline __attribute__((always_inline))
#define V_KERNEL V_TARGET static __attribute__((noinline))
enum { V_TURN = 2, V_MOST_PIXELS = 8, V_SIGNED = 0 };
typedef __m256i V_ints, V_bytes;
typedef uint8_t V_pixel;
typedef int8_t V_weight;
typedef V_ints V_held;

V_INLINE V_ints V_weights(const V_weight *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

V_INLINE V_ints V_dot(V_ints sums, V_ints bytes, V_ints weights) {
#ifdef __clang__
  return _mm256_dpbusd_avx_epi32(sums, bytes, weights);
#else
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(bytes), "xm"(weights));
  return sums;
#endif
}
