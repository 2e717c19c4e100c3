/* ---- pointwise convolution ---- */

/* One tile: `size` pixels by `vectors` vectors of sums, which stay in registers over all input channels. What lies
   beyond `valid` pixels is computed and thrown away. `size`, `vectors`, `step` and `pitch` are constants. */
V_INLINE cursor V_tile(const V_pixel *pixels, int groups, const int8_t *weights, const int32_t *bias,
                       const float *scale, int32_t offset, cursor out, int valid, uint8_t *sink, int pitch, int size,
                       int vectors, int step) {
  V_ints sums[V_MOST_PIXELS][3];
  UNROLL for (int v = 0; v < vectors; v++) {
    V_ints start = V_start(bias + 16 * v);
    UNROLL for (int p = 0; p < size; p++) sums[p][v] = start;
  }
  ROLLED for (int k = 0; k < groups; k++) {
    V_ints w[3];
    UNROLL for (int v = 0; v < vectors; v++) w[v] = V_weights(weights + 64 * v);
    UNROLL for (int p = 0; p < size; p++) {
      V_ints four = V_broadcast(pixels + p * pitch);
      UNROLL for (int v = 0; v < vectors; v++) sums[p][v] = V_dot(sums[p][v], four, w[v]);
    }
    pixels += 4;
    weights += step;
  }
  UNROLL for (int p = 0; p < size; p += 2) {
    uint8_t *first = p < valid ? out.at : sink;
    advance(&out);
    const int other = p + 1 < size ? p + 1 : p;
    uint8_t *second = p + 1 < size && p + 1 < valid ? out.at : sink;
    if (p + 1 < size) advance(&out);
    V_store(first, second, sums[p], sums[other], scale, offset, vectors);
  }
  return out;
}

/* All pixels of a strip by `count` vectors from number `vector` on, a slice of their lanes at a time. */
V_INLINE void V_columns(const V_pixel *strip, int pixels, const panel *p, int block, int vector, int count, cursor out,
                        uint8_t *sink, int pitch, int size, int vectors) {
  const int lanes = 16 * (block * vectors + vector);
  const int8_t *weights = p->weights + (ptrdiff_t)block * p->groups * 64 * vectors + 64 * vector;
  ROLLED for (int slice = 0; slice < 16; slice += V_SLICE) {
    cursor to = out;
    to.at += 16 * (block * vectors + vector) + slice * count;
    const V_pixel *from = strip;
    ROLLED for (int left = pixels; left > 0; left -= size) {
      to = V_tile(from, p->groups, weights + 4 * slice, p->bias[V_SIGNED] + lanes + slice, p->scale + lanes + slice, p->offset,
                  to, left, sink, pitch, size, count, 64 * vectors);
      from += size * pitch;
    }
  }
}

V_INLINE void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch, int pitch, int size, int vectors) {
  const V_pixel *from = V_prepare(strip, pixels, pitch, size, scratch);
  ROLLED for (int block = begin; block < end; block++) {
    if (V_SLICE == 16) {
      V_columns(from, pixels, p, block, 0, vectors, out, scratch, pitch, size, vectors);
    } else {
      if (vectors > 1) V_columns(from, pixels, p, block, 0, 2, out, scratch, pitch, size, vectors);
      if (vectors != 2) V_columns(from, pixels, p, block, vectors - 1, 1, out, scratch, pitch, size, vectors);
    }
  }
}
