/* ---- pointwise convolution, of bytes where that is exact ---- */

/* Sums of two products of bytes saturate at 16 bits. pair_order.py says for which weights they cannot, and has put the
   groups of four input channels into an order: twos whose sums of 16 bits may be added, ones, and the rest, which are
   multiplied as words. */
enum { V_COUNTS = 2 };

static const ALIGNED int16_t V_ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* sums + the products of one group or two with their weights. As instructions: compilers would begin the next before
   these are done, and run out of registers. */
V_INLINE V_ints V_dot_one(V_ints sums, V_ints four, V_ints w) {
  V_ints pairs;
  __asm__("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
          : "+x"(sums), "=&x"(pairs)
          : "x"(four), "x"(w), "m"(V_ones));
  return sums;
}

V_INLINE V_ints V_dot_twos(V_ints sums, V_ints a, V_ints b, V_ints v, V_ints w) {
  V_ints first, second;
  __asm__("vpmaddubsw %5, %3, %1\n\tvpmaddubsw %6, %4, %2\n\tvpaddw %2, %1, %1\n\t"
          "vpmaddwd %7, %1, %1\n\tvpaddd %1, %0, %0"
          : "+x"(sums), "=&x"(first), "=&x"(second)
          : "x"(a), "x"(b), "x"(v), "x"(w), "m"(V_ones));
  return sums;
}

/* sums + the products of one or two groups, numbers at[0] and at[1]. `step` is what groups' weights are apart. */
V_INLINE void V_bytes_group(V_ints sums[V_MOST_PIXELS][2], const uint8_t *pixels, const int8_t *weights,
                            const group_number *at, int count, int pitch, int size, int vectors, int step) {
  V_ints w[2][2];
  UNROLL for (int i = 0; i < count; i++)
    UNROLL for (int v = 0; v < vectors; v++) w[i][v] = V_load(weights + at[i] * step + 64 * v);
  UNROLL for (int p = 0; p < size; p++) {
    V_ints four[2];
    UNROLL for (int i = 0; i < count; i++) four[i] = V_broadcast(pixels + 4 * at[i] + p * pitch);
    UNROLL for (int v = 0; v < vectors; v++)
      sums[p][v] = count == 2 ? V_dot_twos(sums[p][v], four[0], four[1], w[0][v], w[1][v])
                              : V_dot_one(sums[p][v], four[0], w[0][v]);
  }
}

/* Every other byte, as words. The mask stays in memory: registers are all taken. */
V_INLINE V_ints V_even(V_ints bytes) {
  static const ALIGNED int16_t low[16] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
  V_ints even;
  __asm__("vpand %2, %1, %0" : "=x"(even) : "x"(bytes), "m"(low));
  return even;
}

/* The same of words, of a group whose products saturate. */
V_INLINE void V_words_group(V_ints sums[V_MOST_PIXELS][2], const uint8_t *pixels, const V_weight *weights, int pitch,
                            int size, int vectors) {
  V_held w[2];
  UNROLL for (int v = 0; v < vectors; v++) w[v] = V_hold(weights + V_WEIGHTS * v);
  UNROLL for (int p = 0; p < size; p++) {
    const V_ints four = V_broadcast(pixels + p * pitch), even = V_even(four), odd = _mm256_srli_epi16(four, 8);
    UNROLL for (int v = 0; v < vectors; v++) sums[p][v] = V_dot(V_dot(sums[p][v], even, w[v].even), odd, w[v].odd);
  }
}

typedef struct { /* What one column of a tile multiplies. */
  const group_number *order, *words, *end; /* of groups: from the first, from the first of words, to the last */
  const int8_t *weights;
  const V_weight *wide; /* those of words */
  const int32_t *bias;
  const float *scale;
} V_column_weights;

/* One tile: `size` pixels by `vectors` vectors of sums, which stay in registers over all input channels. What lies
   beyond `valid` pixels is computed and thrown away. `pitch`, `size`, `vectors` and `step` are constants. */
V_INLINE cursor V_tile(const uint8_t *pixels, const V_column_weights *c, int32_t offset,
                       cursor out, int valid, uint8_t *sink, int pitch, int size, int vectors, int step) {
  V_ints sums[V_MOST_PIXELS][2];
  UNROLL for (int v = 0; v < vectors; v++) {
    const V_ints start = V_load(c->bias + 16 * v);
    UNROLL for (int p = 0; p < size; p++) sums[p][v] = start;
  }
  const int8_t *weights = c->weights;
  const group_number *at = c->order + V_COUNTS;
  ROLLED for (const group_number *end = at + 2 * c->order[0]; at < end; at += 2)
    V_bytes_group(sums, pixels, weights, at, 2, pitch, size, vectors, step);
  ROLLED for (const group_number *end = c->words; at < end; at++)
    V_bytes_group(sums, pixels, weights, at, 1, pitch, size, vectors, step);
  const V_weight *wide = c->wide;
  ROLLED for (const group_number *end = c->end; at < end; at++, wide += V_WEIGHTS * vectors)
    V_words_group(sums, pixels + 4 * *at, wide, pitch, size, vectors);
  /* Mostly the pixels go to one row; where they do not, by way of the sink. */
  const int straight = fits(&out, size, valid);
  uint8_t *to = straight ? out.at : sink;
  const ptrdiff_t apart = straight ? out.pixel : SINK_PIXEL;
  const V_scales scales = V_load_scales(c->scale, vectors, 0);
  UNROLL for (int p = 0; p < size; p += 2) {
    const int other = p + 1 < size ? p + 1 : p; /* the last of an odd number is stored twice */
    V_store(to, to + (other - p) * apart, sums[p], sums[other], &scales, offset, vectors);
    to += 2 * apart;
  }
  return straight ? advanced(out, size) : scattered(out, sink, V_SLICE * vectors, size < valid ? size : valid);
}

/* All pixels of a strip by `count` vectors from number `vector` on, a slice of their lanes at a time; the order of the
   column behind. */
V_INLINE const group_number *V_columns(const uint8_t *strip, int pixels, const panel *p, const group_number *order, int32_t offset,
                                   int block, int vector, int count, cursor out,
                                   uint8_t *sink, int pitch, int size, int vectors) {
  ROLLED for (int slice = 0; slice < 16; slice += V_SLICE, order += V_COUNTS + p->groups) {
    const int lane = 16 * (block * vectors + vector) + slice;
    const int8_t *weights = p->weights + (ptrdiff_t)block * p->groups * 64 * vectors + 64 * vector + 4 * slice;
    const group_number *rest = order + V_COUNTS + 2 * order[0] + order[1], *end = order + V_COUNTS + p->groups;
    const V_column_weights c = {order, rest, end, weights,
                                V_prepare_weights(weights, rest, end, 64 * vectors, count, sink),
                                p->bias[V_SIGNED] + lane, p->scale + lane};
    cursor to = out;
    to.at += 16 * (block * vectors + vector) + slice * count;
    ROLLED for (int at = 0; at < pixels; at += size)
      to = V_tile(strip + at * pitch, &c, offset, to, pixels - at, sink, pitch, size, count,
                  64 * vectors);
  }
  return order;
}

V_INLINE void V_blocks(const uint8_t *strip, int pixels, const panel *p, int32_t offset,
                       int begin, int end, cursor out, uint8_t *sink, int pitch, int size, int vectors) {
  const int columns = 2 * ((vectors + 1) / 2);
  const group_number *order = p->order + (ptrdiff_t)begin * columns * (V_COUNTS + p->groups);
  ROLLED for (int block = begin; block < end; block++) {
    if (vectors > 1)
      order = V_columns(strip, pixels, p, order, offset, block, 0, 2, out, sink, pitch, size, vectors);
    if (vectors != 2)
      order = V_columns(strip, pixels, p, order, offset, block, vectors - 1, 1, out, sink, pitch, size, vectors);
  }
}

V_INLINE void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch, int pitch, int size, int vectors) {
  if (HAS_ATTENTION && p->offset)
    V_blocks(strip, pixels, p, p->offset, begin, end, out, scratch, pitch, size, vectors);
  else
    V_blocks(strip, pixels, p, 0, begin, end, out, scratch, pitch, size, vectors);
}
