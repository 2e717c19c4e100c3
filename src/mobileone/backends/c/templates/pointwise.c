/* ---- pointwise convolution ---- */

/* sums + the products of a group of four input channels. */
V_INLINE void V_group(V_ints sums[V_MOST_PIXELS][3], const V_pixel *pixels, const V_weight *weights, int pitch,
                      int size, int vectors) {
  UNROLL for (int part = 0; part < V_PARTS; part++) {
    const V_weight *from = weights + V_WEIGHTS / V_PARTS * part;
    V_ints w[3];
    UNROLL for (int v = 0; v < vectors; v++) w[v] = V_weights(from + V_WEIGHTS * v);
    UNROLL for (int p = 0; p < size; p++) {
      V_ints some = V_broadcast(pixels + p * pitch + 4 / V_PARTS * part);
      UNROLL for (int v = 0; v < vectors; v++) sums[p][v] = V_dot(sums[p][v], some, w[v]);
    }
  }
}

/* One tile: `size` pixels by `vectors` vectors of sums, which stay in registers over all input channels. What lies
   beyond `valid` pixels is computed and thrown away. `pitch`, `size`, `vectors` and `step` are constants. */
V_INLINE cursor V_tile(const V_pixel *pixels, int groups, const V_weight *weights, const int32_t *bias,
                       const float *scale, int is_lifted, int32_t offset, cursor out, int valid, uint8_t *sink,
                       int pitch, int size, int vectors, int step) {
  V_ints sums[V_MOST_PIXELS][3];
  UNROLL for (int v = 0; v < vectors; v++) {
    V_ints start = V_start(bias + 16 * v, is_lifted);
    UNROLL for (int p = 0; p < size; p++) sums[p][v] = start;
  }
  ROLLED for (int k = 0; k < groups; k++, pixels += 4, weights += step)
    V_group(sums, pixels, weights, pitch, size, vectors);
  /* Mostly the pixels go to one row; where they do not, by way of the sink. */
  const int straight = fits(&out, size, valid);
  uint8_t *to = straight ? out.at : sink;
  const ptrdiff_t apart = straight ? out.pixel : SINK_PIXEL;
  const V_scales scales = V_load_scales(scale, vectors, is_lifted);
  UNROLL for (int p = 0; p < size; p += 2) {
    const int other = p + 1 < size ? p + 1 : p; /* the last of an odd number is stored twice */
    V_store(to, to + (other - p) * apart, sums[p], sums[other], &scales, offset, vectors);
    to += 2 * apart;
  }
  return straight ? advanced(out, size) : scattered(out, sink, V_SLICE * vectors, size < valid ? size : valid);
}

/* All pixels of a strip by `count` vectors from number `vector` on, a slice of their lanes at a time. */
V_INLINE void V_columns(const V_pixel *strip, int pixels, const panel *p, int is_lifted, int32_t offset, int block,
                        int vector, int count, cursor out, uint8_t *sink, int pitch, int size, int vectors) {
  const int lanes = 16 * (block * vectors + vector);
  const int8_t *weights = p->weights + (ptrdiff_t)block * p->groups * 64 * vectors + 64 * vector;
  ROLLED for (int slice = 0; slice < 16; slice += V_SLICE) {
    const V_weight *w = V_prepare_weights(weights + 4 * slice, p->groups, 64 * vectors, count, sink);
    cursor to = out;
    to.at += lanes + slice * count;
    const V_pixel *from = strip;
    ROLLED for (int left = pixels; left > 0; left -= size) {
      to = V_tile(from, p->groups, w, p->bias[V_SIGNED] + lanes + slice, p->scale + lanes + slice, is_lifted, offset,
                  to, left, sink, pitch, size, count, V_weights_apart(64 * vectors, count));
      from += size * pitch;
    }
  }
}

V_INLINE void V_blocks(const V_pixel *strip, int pixels, const panel *p, int is_lifted, int32_t offset, int begin,
                       int end, cursor out, uint8_t *sink, int pitch, int size, int vectors) {
  ROLLED for (int block = begin; block < end; block++) {
    if (V_SLICE == 16) {
      V_columns(strip, pixels, p, is_lifted, offset, block, 0, vectors, out, sink, pitch, size, vectors);
    } else {
      if (vectors > 1)
        V_columns(strip, pixels, p, is_lifted, offset, block, 0, 2, out, sink, pitch, size, vectors);
      if (vectors != 2)
        V_columns(strip, pixels, p, is_lifted, offset, block, vectors - 1, 1, out, sink, pitch, size, vectors);
    }
  }
}

/* Sums that cannot be lifted, among them those before an attention, whose outputs have a zero of their own: twice the
   code, but none for it where a network has none. */
V_INLINE void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch, int pitch, int size, int vectors) {
  const V_pixel *from = V_prepare(strip, pixels, pitch, size, scratch);
  if (HAS_PLAIN_SUMS && !p->is_lifted)
    V_blocks(from, pixels, p, 0, p->offset, begin, end, out, scratch, pitch, size, vectors);
  else
    V_blocks(from, pixels, p, 1, 0, begin, end, out, scratch, pitch, size, vectors);
}
