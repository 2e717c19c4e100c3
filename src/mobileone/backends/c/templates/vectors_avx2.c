/* ==== AVX2: products of 16 bits, which are exact; those of bytes saturate ================================ */

#define V_TARGET __attribute__((target("avx2")))
#define V_INLINE V_TARGET static inline __attribute__((always_inline))
#define V_KERNEL V_TARGET static __attribute__((noinline))
enum { V_TURN = 1, V_MOST_PIXELS = 8, V_SIGNED = 0 };
typedef __m256i V_ints, V_bytes;
typedef uint8_t V_pixel;
typedef int16_t V_weight;

/* sums + the products of two values and two weights a lane. The sum is an instruction: gcc 12 would first add products
   to one another, and run out of registers. */
V_INLINE V_ints V_dot(V_ints sums, V_ints values, V_ints weights) {
  const V_ints products = _mm256_madd_epi16(values, weights);
#ifdef __clang__
  return _mm256_add_epi32(sums, products);
#else
  __asm__("vpaddd %1, %0, %0" : "+x"(sums) : "x"(products));
  return sums;
#endif
}
