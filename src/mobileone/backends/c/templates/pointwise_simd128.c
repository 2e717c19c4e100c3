/* ---- pointwise convolution ---- */

/* sums + the products of `count` groups of four input channels. */
V_INLINE void V_groups(V_ints sums[V_MOST_PIXELS][2], const V_pixel *pixels, const int8_t *weights, int count, int pitch,
                       int size, int step) {
  UNROLL for (int k = 0; k < count; k++) {
    V_ints w[2];
    V_LOAD_AT(w[0], "i16x8.load8x8_s", weights, k * step);
    V_LOAD_AT(w[1], "i16x8.load8x8_s", weights, k * step + 8);
    UNROLL for (int p = 0; p < size; p++) {
      V_ints four;
      V_LOAD_AT(four, "v128.load64_splat", pixels, 2 * (p * pitch + 4 * k));
      V_ints products[2]; /* both before either is added: that keeps an x86's multipliers busier */
      UNROLL for (int half = 0; half < 2; half++) {
        products[half] = wasm_i32x4_dot_i16x8(four, w[half]);
        V_IN_PLACE(products[half]);
      }
      UNROLL for (int half = 0; half < 2; half++) {
        sums[p][half] = V_add(sums[p][half], products[half]);
        V_IN_PLACE(sums[p][half]);
      }
    }
  }
}

/* One tile: `size` pixels by four channels, whose sums stay in registers over all input channels. */
V_INLINE cursor V_tile(const V_pixel *pixels, int groups, const int8_t *weights, const int32_t *bias, v128_t scale,
                       int32_t offset, cursor out, int valid, uint8_t *sink, int pitch, int size, int step) {
  V_ints sums[V_MOST_PIXELS][2];
  UNROLL for (int half = 0; half < 2; half++) {
    const V_ints start = V_start(bias + 2 * half, 0);
    UNROLL for (int p = 0; p < size; p++) sums[p][half] = start;
  }
  int k = 0;
  ROLLED for (; k + 4 <= groups; k += 4, pixels += 16, weights += 4 * step)
    V_groups(sums, pixels, weights, 4, pitch, size, step);
  ROLLED for (; k < groups; k++, pixels += 4, weights += step) V_groups(sums, pixels, weights, 1, pitch, size, step);
  const int straight = fits(&out, size, valid);
  uint8_t *to = straight ? out.at : sink;
  const ptrdiff_t apart = straight ? out.pixel : SINK_PIXEL;
  UNROLL for (int p = 0; p < size; p += 2) {
    const int other = p + 1 < size ? p + 1 : p; /* the last of an odd number is stored twice */
    v128_t both = wasm_i16x8_narrow_i32x4(V_round(V_join(sums[p][0], sums[p][1]), scale, offset),
                                          V_round(V_join(sums[other][0], sums[other][1]), scale, offset));
    both = wasm_u8x16_narrow_i16x8(both, both);
    wasm_v128_store32_lane(to, both, 0);
    wasm_v128_store32_lane(to + (other - p) * apart, both, 1);
    to += 2 * apart;
  }
  return straight ? advanced(out, size) : scattered(out, sink, 4, size < valid ? size : valid);
}

V_INLINE void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch, int pitch, int size, int vectors) {
  const V_pixel *wide = V_prepare(strip, pixels, pitch, size, scratch);
  ROLLED for (int part = 4 * vectors * begin; part < 4 * vectors * end; part++) {
    const int block = part / (4 * vectors), four = part % (4 * vectors); /* of a block's lanes, four by four */
    const int lane = 16 * vectors * block + 4 * four;
    const int8_t *weights = p->weights + (ptrdiff_t)block * p->groups * 64 * vectors + 16 * four;
    const v128_t scale = wasm_v128_load(p->scale + lane);
    cursor to = out;
    to.at += 16 * vectors * block + channel_of_lane(4 * four, vectors);
    const V_pixel *from = wide;
    ROLLED for (int left = pixels; left > 0; left -= size, from += size * pitch)
      to = V_tile(from, p->groups, weights, p->bias[V_SIGNED] + lane, scale, HAS_ATTENTION ? p->offset : 0, to, left,
                  scratch, pitch, size, 64 * vectors);
  }
}
