/* ==== WebAssembly, relaxed SIMD: dot products of bytes without a sign =================================== */

enum { V_SIGNED = 0 };
#define V_AS_BYTES(values) (values)
