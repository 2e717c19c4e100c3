/* ---- pointwise convolution ---- */

/* One tile: `size` pixels by four vectors of sums, which stay in registers over all input channels. Sixteen input
   channels of a pixel are one register, of which an instruction picks four. `at` holds where in a group's weights the
   four vectors lie, in bytes; a quarter of it is where in the biases and scales. */
V_INLINE cursor V_tile(const uint8_t *pixels, int groups, const int8_t *weights, const int32_t *bias,
                       const float *scale, int32_t offset, cursor out, int valid, uint8_t *sink, int pitch, int size,
                       int step, const int *at) {
  V_ints sums[V_MOST_PIXELS][4];
  UNROLL for (int v = 0; v < 4; v++) {
    UNROLL for (int p = 0; p < size; p++) sums[p][v] = V_load(bias + at[v] / 4);
  }
  int k = 0;
  ROLLED for (; k + 4 <= groups; k += 4) {
    V_bytes values[V_MOST_PIXELS];
    UNROLL for (int p = 0; p < size; p++) values[p] = V_as_bytes(vld1q_u8(pixels + p * pitch));
#define V_GROUP(g)                                                              \
  UNROLL for (int v = 0; v < 4; v++) {                                          \
    const int8x16_t w = vld1q_s8(weights + g * step + at[v]);                   \
    UNROLL for (int p = 0; p < size; p++) sums[p][v] = V_dot_lane(sums[p][v], w, values[p], g); \
  }
    V_GROUP(0)
    V_GROUP(1)
    V_GROUP(2)
    V_GROUP(3)
#undef V_GROUP
    pixels += 16;
    weights += 4 * step;
  }
  ROLLED for (; k < groups; k++) {
    UNROLL for (int v = 0; v < 4; v++) {
      const int8x16_t w = vld1q_s8(weights + at[v]);
      UNROLL for (int p = 0; p < size; p++) sums[p][v] = V_dot(sums[p][v], V_broadcast(pixels + p * pitch), w);
    }
    pixels += 4;
    weights += step;
  }
  const float *const scales[4] = {scale + at[0] / 4, scale + at[1] / 4, scale + at[2] / 4, scale + at[3] / 4};
  const int straight = fits(&out, size, valid);
  uint8_t *to = straight ? out.at : sink;
  const ptrdiff_t apart = straight ? out.pixel : SINK_PIXEL;
  UNROLL for (int p = 0; p < size; p++, to += apart) V_store_four(to, sums[p], scales, offset);
  return straight ? advanced(out, size) : scattered(out, sink, 16, size < valid ? size : valid);
}

V_INLINE void V_sixteen(const uint8_t *strip, int pixels, const panel *p, int block, int channel, cursor out,
                        uint8_t *sink, int pitch, int size, int vectors, const int *at) {
  const int first = 16 * vectors * block;
  const int8_t *weights = p->weights + (ptrdiff_t)first * 4 * p->groups;
  out.at += first + channel;
  ROLLED for (int left = pixels; left > 0; left -= size) {
    out = V_tile(strip, p->groups, weights, p->bias[V_SIGNED] + first, p->scale + first, p->offset, out, left, sink,
                 pitch, size, 64 * vectors, at);
    strip += size * pitch;
  }
}

V_INLINE void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch, int pitch, int size, int vectors) {
  ROLLED for (int block = begin; block < end; block++) {
    if (vectors > 1) {
      const int low[4] = {0, 64, 16, 80}, high[4] = {32, 96, 48, 112};
      V_sixteen(strip, pixels, p, block, 0, out, scratch, pitch, size, vectors, low);
      V_sixteen(strip, pixels, p, block, 16, out, scratch, pitch, size, vectors, high);
    }
    if (vectors != 2) {
      const int last = 64 * (vectors - 1);
      const int all[4] = {last, last + 16, last + 32, last + 48};
      V_sixteen(strip, pixels, p, block, 16 * (vectors - 1), out, scratch, pitch, size, vectors, all);
    }
  }
}
