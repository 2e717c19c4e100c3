/* ==== NEON, signed dot products ========================================================================= */

#ifdef __clang__
#define V_TARGET __attribute__((target("dotprod")))
#else /* gcc would move loads to the front of a loop, and run out of registers */
#define V_TARGET __attribute__((target("arch=armv8.2-a+dotprod"), optimize("no-schedule-insns")))
#endif
#define V_INLINE V_TARGET static inline __attribute__((always_inline, unused))
#define V_KERNEL V_TARGET static __attribute__((noinline))
enum { V_SIGNED = 1 };
typedef int32x4_t V_ints;

/* The instruction takes signed bytes only: activations are read less 128, and biases make up for it. */
typedef int8x16_t V_bytes;
V_INLINE V_bytes V_as_bytes(uint8x16_t values) { return vreinterpretq_s8_u8(veorq_u8(values, vdupq_n_u8(128))); }
V_INLINE V_ints V_dot(V_ints sums, V_bytes bytes, int8x16_t weights) { return vdotq_s32(sums, weights, bytes); }
#define V_dot_lane(sums, weights, bytes, lane) vdotq_laneq_s32(sums, weights, bytes, lane)
