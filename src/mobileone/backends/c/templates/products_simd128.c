/* ---- WebAssembly: products of 16 bits, which are exact on every machine ---- */

enum { V_LANES = 4, V_SLICE = 2, V_SIGNED = 0 };
typedef int16_t V_pixel, V_weight;

/* The strip in 16 bits, up to the end of the last tile. */
V_INLINE const V_pixel *V_prepare(const uint8_t *strip, int pixels, int pitch, int size, uint8_t *scratch) {
  V_pixel *wide = (V_pixel *)(void *)(scratch + SINK_BYTES + WIDE_WEIGHTS_BYTES);
  const int count = (pixels + size - 1) / size * size * pitch;
  for (int i = 0; i < count; i += 16) {
    const v128_t values = wasm_v128_load(strip + i);
    wasm_v128_store(wide + i, wasm_u16x8_extend_low_u8x16(values));
    wasm_v128_store(wide + i + 8, wasm_u16x8_extend_high_u8x16(values));
  }
  return wide;
}

/* Four lanes' four weights, the first two and the last two of each, in 16 bits. */
typedef struct {
  v128_t first, last;
} V_twos;
V_INLINE V_twos V_split(const int8_t *weights) {
  const v128_t bytes = wasm_v128_load(weights);
  const v128_t split = wasm_i16x8_shuffle(bytes, bytes, 0, 2, 4, 6, 1, 3, 5, 7);
  return (V_twos){wasm_i16x8_extend_low_i8x16(split), wasm_i16x8_extend_high_i8x16(split)};
}

/* In the classifier a vector holds two lanes, with two sums each: of the first two and the last two of four inputs. */
V_INLINE V_ints V_start(const int32_t *bias, int is_lifted) { return (void)is_lifted, wasm_u64x2_load32x2(bias); }
V_INLINE V_ints V_dot_group(V_ints sums, const V_pixel *four, const int8_t *weights) {
  return V_add(sums, wasm_i32x4_dot_i16x8(wasm_v128_load64_splat(four), wasm_i16x8_load8x8(weights)));
}
V_INLINE void V_store_sums(int32_t *p, V_ints a) {
  wasm_v128_store64_lane(p, V_add(wasm_i32x4_shuffle(a, a, 0, 2, 0, 2), wasm_i32x4_shuffle(a, a, 1, 3, 1, 3)), 0);
}

/* Where a tile's pixels go: mostly into one row; what lies beyond `valid` into the sink. Where the next tile begins. */
V_INLINE cursor V_places(uint8_t **to, int size, cursor out, int valid, uint8_t *sink) {
  const int straight = fits(&out, size, valid);
  UNROLL for (int p = 0; p < size; p++) {
    to[p] = straight ? out.at + p * out.pixel : p < valid ? out.at : sink;
    if (!straight && p < valid) out = advanced(out, 1);
  }
  return straight ? advanced(out, size) : out;
}
