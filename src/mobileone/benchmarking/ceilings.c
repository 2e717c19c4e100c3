/* How many multiply-accumulates a second one thread can do at best: independent chains of the widest
   instruction the compiler may use here, enough of them to hide its latency, all operands in registers.

   Every function does `blocks` blocks of BLOCK steps and returns how many multiply-accumulates those were, or 0
   where the processor has no such instruction; the caller holds the clock. `start` are CHAINS different values,
   so that no compiler can take two chains for one; `result` is what a step made on average, which the caller
   knows in advance: 2 for fp32 and fp16 (the fixed point of x/2 + 1) and as many as a step adds for the others. */

#include <stdint.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

enum { BLOCK = 4096 };
#if defined(__AVX512F__)
enum { BYTES = 64, CHAINS = 16 }; /* of 32 registers */
#elif defined(__AVX__)
enum { BYTES = 32, CHAINS = 12 }; /* of 16 registers */
#else
enum { BYTES = 16, CHAINS = 16 };
#endif
enum { LANES = BYTES / 4 };

typedef float Floats __attribute__((vector_size(BYTES)));
typedef int32_t Ints __attribute__((vector_size(BYTES)));

int64_t num_chains(void) { return CHAINS; }

#define ABSENT(NAME)                                                                                   \
    int64_t NAME(int64_t blocks, const float *start, double *result) { return 0; }

/* Multiply-adds of one type. */
#define FMA(NAME, REAL_TYPE)                                                                           \
    int64_t NAME(int64_t blocks, const float *start, double *result) {                                 \
        typedef REAL_TYPE Vector __attribute__((vector_size(BYTES)));                                  \
        enum { WIDTH = BYTES / sizeof(REAL_TYPE) };                                                    \
        volatile REAL_TYPE half = 0.5f, one = 1.0f;                                                    \
        Vector factor = half - (Vector){0}, term = one - (Vector){0}, chain[CHAINS];                   \
        for (int i = 0; i < CHAINS; i++) chain[i] = (REAL_TYPE)start[i] - (Vector){0};                 \
        for (int64_t step = 0; step < blocks * BLOCK; step++) {                                        \
            _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++) chain[i] = chain[i] * factor + term; \
        }                                                                                              \
        double sum = 0;                                                                                \
        for (int i = 0; i < CHAINS; i++)                                                               \
            for (int lane = 0; lane < WIDTH; lane++) sum += chain[i][lane];                            \
        *result = sum / (CHAINS * WIDTH);                                                              \
        return blocks * BLOCK * CHAINS * WIDTH;                                                        \
    }

FMA(fp32, float)
#if defined(__AVX512FP16__) || defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
FMA(fp16, _Float16)
#else
ABSENT(fp16)
#endif

/* One function of dot products: `products` a 32-bit lane. */
#define DOT(NAME, VECTOR, PRODUCTS, PREPARE, STEP)                                                     \
    int64_t NAME(int64_t blocks, const float *start, double *result) {                                 \
        double sum = 0;                                                                                \
        PREPARE;                                                                                       \
        for (int64_t block = 0; block < blocks; block++) {                                             \
            VECTOR chain[CHAINS];                                                                      \
            for (int i = 0; i < CHAINS; i++)                                                           \
                for (int lane = 0; lane < LANES; lane++) chain[i][lane] = start[i];                    \
            for (int step = 0; step < BLOCK; step++) {                                                 \
                _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++) chain[i] = (VECTOR)(STEP);   \
            }                                                                                          \
            for (int i = 0; i < CHAINS; i++)                                                           \
                for (int lane = 0; lane < LANES; lane++) sum += (double)chain[i][lane] - start[i];     \
        }                                                                                              \
        *result = sum / ((double)blocks * BLOCK * CHAINS * LANES);                                     \
        return blocks * BLOCK * CHAINS * LANES * (PRODUCTS);                                           \
    }

#if defined(__AVX512BF16__)
DOT(bf16, Floats, 2, volatile short bits = 0x3f80; __m512bh ones = (__m512bh)_mm512_set1_epi16(bits),
    _mm512_dpbf16_ps((__m512)chain[i], ones, ones))
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
DOT(bf16, Floats, 2, volatile uint16_t bits = 0x3f80;
    bfloat16x8_t ones = vreinterpretq_bf16_u16(vdupq_n_u16(bits)),
    vbfdotq_f32((float32x4_t)chain[i], ones, ones))
#else
ABSENT(bf16)
#endif

#if defined(__AVX512VNNI__)
DOT(int8, Ints, 4, volatile char one = 1; __m512i ones = _mm512_set1_epi8(one),
    _mm512_dpbusd_epi32((__m512i)chain[i], ones, ones))
#elif defined(__AVXVNNI__)
DOT(int8, Ints, 4, volatile char one = 1; __m256i ones = _mm256_set1_epi8(one),
    _mm256_dpbusd_avx_epi32((__m256i)chain[i], ones, ones))
/* Three instructions. The empty assembly hides that the operand is a constant: else two of them are done once. */
#elif defined(__AVX512BW__)
DOT(int8, Ints, 4, volatile char one = 1; __m512i ones = _mm512_set1_epi8(one); __m512i pairs = _mm512_set1_epi16(one),
    ({
        __asm__ volatile("" : "+v"(ones));
        _mm512_add_epi32((__m512i)chain[i], _mm512_madd_epi16(_mm512_maddubs_epi16(ones, ones), pairs));
    }))
#elif defined(__AVX2__) && !defined(__AVX512F__)
DOT(int8, Ints, 4, volatile char one = 1; __m256i ones = _mm256_set1_epi8(one); __m256i pairs = _mm256_set1_epi16(one),
    ({
        __asm__ volatile("" : "+x"(ones));
        _mm256_add_epi32((__m256i)chain[i], _mm256_madd_epi16(_mm256_maddubs_epi16(ones, ones), pairs));
    }))
#elif defined(__ARM_FEATURE_DOTPROD)
DOT(int8, Ints, 4, volatile int8_t one = 1; int8x16_t ones = vdupq_n_s8(one),
    vdotq_s32((int32x4_t)chain[i], ones, ones))
#else
ABSENT(int8)
#endif
