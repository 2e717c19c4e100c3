/* ==== NEON, mixed dot products ========================================================================== */

#ifdef __clang__
#define V_TARGET __attribute__((target("i8mm")))
#else /* gcc would move loads to the front of a loop, and run out of registers */
#define V_TARGET __attribute__((target("arch=armv8.2-a+i8mm"), optimize("no-schedule-insns")))
#endif
#define V_INLINE V_TARGET static inline __attribute__((always_inline, unused))
#define V_KERNEL V_TARGET static __attribute__((noinline))
enum { V_SIGNED = 0 };
typedef int32x4_t V_ints;

/* Unsigned activations times signed weights. */
typedef uint8x16_t V_bytes;
V_INLINE V_bytes V_as_bytes(uint8x16_t values) { return values; }
V_INLINE V_ints V_dot(V_ints sums, V_bytes bytes, int8x16_t weights) { return vusdotq_s32(sums, bytes, weights); }
#define V_dot_lane(sums, weights, bytes, lane) vsudotq_laneq_s32(sums, weights, bytes, lane)
