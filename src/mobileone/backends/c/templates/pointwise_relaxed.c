/* ---- pointwise convolution ---- */

/* sums + the products of `count` groups of four input channels. */
V_INLINE void V_groups(V_ints sums[V_SUMS][2], const V_pixel *pixels, const int8_t *weights, int count, int pitch,
                       int size, int vectors, int step) {
  UNROLL for (int k = 0; k < count; k++) {
    V_ints w[2];
    UNROLL for (int v = 0; v < vectors; v++) V_LOAD_AT(w[v], "v128.load", weights, k * step + 64 * v);
    UNROLL for (int p = 0; p < size; p++) {
      V_bytes four;
      V_LOAD_AT(four, "v128.load32_splat", pixels, p * pitch + 4 * k);
      UNROLL for (int v = 0; v < vectors; v++) {
        sums[p][v] = V_dot(sums[p][v], four, w[v]);
        V_IN_PLACE(sums[p][v]);
      }
    }
  }
}

/* One tile: `size` pixels by one or two vectors of sums, which stay in registers over all input channels. */
V_INLINE cursor V_tile(const V_pixel *pixels, const int8_t *weights, const int32_t *bias, const float *scale,
                       int32_t offset, cursor out, int valid, uint8_t *sink, int pitch, int groups, int size,
                       int vectors, int step) {
  V_ints sums[V_SUMS][2];
  UNROLL for (int v = 0; v < vectors; v++) {
    const V_ints start = V_load(bias + 16 * v);
    UNROLL for (int p = 0; p < size; p++) sums[p][v] = start;
  }
  const int rest = groups <= 8 ? groups : groups % 4; /* a loop costs what two groups do */
  ROLLED for (int k = rest; k < groups; k += 4, pixels += 16, weights += 4 * step)
    V_groups(sums, pixels, weights, 4, pitch, size, vectors, step);
  V_groups(sums, pixels, weights, rest, pitch, size, vectors, step);
  const int straight = fits(&out, size, valid);
  uint8_t *to = straight ? out.at : sink;
  const ptrdiff_t apart = straight ? out.pixel : SINK_PIXEL;
  v128_t scales[2];
  UNROLL for (int v = 0; v < vectors; v++) scales[v] = wasm_v128_load(scale + 16 * v);
  UNROLL for (int p = 0; p < size; p++, to += apart) {
    const V_ints first = V_round(sums[p][0], scales[0], offset);
    v128_t whole = wasm_i16x8_narrow_i32x4(first, vectors == 2 ? V_round(sums[p][1], scales[1], offset) : first);
    whole = wasm_u8x16_narrow_i16x8(whole, whole);
    if (vectors == 2) wasm_v128_store64_lane(to, whole, 0);
    else wasm_v128_store32_lane(to, whole, 0);
  }
  return straight ? advanced(out, size) : scattered(out, sink, 4 * vectors, size < valid ? size : valid);
}

/* All pixels of a strip by `count` vectors from number `vector` on, a slice of their lanes at a time. As many pixels as
   registers hold sums of; four of those that are left, where more would mostly be zeros. */
V_INLINE void V_columns(const V_pixel *strip, int pixels, const panel *p, int32_t offset, int block, int vector,
                        int count, cursor out, uint8_t *sink, int pitch, int groups, int vectors) {
  const int lanes = 16 * (block * vectors + vector), most = V_SUMS / count, few = count == 2 ? most : 0;
  const int8_t *weights = p->weights + (ptrdiff_t)block * groups * 64 * vectors + 64 * vector;
#define V_TILE(size)                                                                                          \
  {                                                                                                           \
    to = V_tile(from, weights + 4 * slice, p->bias[V_SIGNED] + lanes + slice, p->scale + lanes + slice, offset, to, \
                left, sink, pitch, groups, size, count, 64 * vectors);                                        \
    from += size * pitch;                                                                                     \
    left -= size;                                                                                             \
  }
  ROLLED for (int slice = 0; slice < 16; slice += V_SLICE) {
    cursor to = out;
    to.at += lanes + slice * count;
    const V_pixel *from = strip;
    int left = pixels;
    ROLLED while (left > 8 || (left > 4 && left <= few)) V_TILE(most)
    ROLLED while (left > 0) V_TILE(4)
  }
#undef V_TILE
}

V_INLINE void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch, int pitch, int groups, int vectors) {
  const V_pixel *from = V_prepare(strip, pixels, pitch, 4, scratch);
  const int32_t offset = HAS_ATTENTION ? p->offset : 0;
  ROLLED for (int block = begin; block < end; block++) {
    if (vectors > 1) V_columns(from, pixels, p, offset, block, 0, 2, out, scratch, pitch, groups, vectors);
    if (vectors != 2) V_columns(from, pixels, p, offset, block, vectors - 1, 1, out, scratch, pitch, groups, vectors);
  }
}
