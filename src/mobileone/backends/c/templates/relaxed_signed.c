/* ==== WebAssembly, relaxed SIMD: dot products of bytes with a sign ====================================== */

/* Activations are read less 128, and biases make up for it. */
enum { V_SIGNED = 1 };
#define V_AS_BYTES(values) wasm_v128_xor(values, wasm_u8x16_const_splat(128))
