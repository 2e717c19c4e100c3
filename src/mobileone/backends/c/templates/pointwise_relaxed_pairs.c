/* ---- pointwise convolution, of bytes where that is exact ---- */

/* As pointwise_pairs.c, whose orders are of eight lanes: a slice of four keeps to that of the eight it is of. */
enum { V_COUNTS = 2, V_MOST_PIXELS = 8 }; /* numbers before an order; of a tile */

/* Sums of two products of bytes, in 16 bits. */
V_INLINE v128_t V_pairs(v128_t four, v128_t w) { return wasm_i16x8_relaxed_dot_i8x16_i7x16(w, four); }

/* Whether they are those of bytes without a sign, wherever the sum fits. */
static int V_is_supported(void) {
  static const uint8_t values[] = {0, 1, 127, 128, 255};
  static const int8_t weights[] = {-128, -127, -64, -1, 1, 63, 64, 127};
  for (int i = 0; i < 25 * 64; i++) {
    const int a = values[i % 5], b = values[i / 5 % 5], v = weights[i / 25 % 8], w = weights[i / 200];
    const int wanted = a * v + b * w;
    const v128_t sums =
        V_pairs(wasm_i16x8_splat((int16_t)(a | b << 8)), wasm_i16x8_splat((int16_t)((v & 255) | w * 256)));
    if (wanted == (int16_t)wanted && !wasm_i16x8_all_true(wasm_i16x8_eq(sums, wasm_i16x8_splat((int16_t)wanted))))
      return 0;
  }
  return 1;
}

/* Their neighbours are added by multiplying with ones that stay in a register: the instruction that adds neighbours would
   read them from memory, in V8, and loads are the bound. */
ALIGNED static const int16_t V_ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};

/* sums + the products of one or two groups, numbers at[0] and at[1]. `step` is what groups' weights are apart. */
V_INLINE void V_bytes_group(V_ints sums[V_MOST_PIXELS], const uint8_t *pixels, const int8_t *weights, const group_number *at,
                            int count, int pitch, int size, int step, v128_t ones) {
  v128_t w[2];
  const uint8_t *from[2];
  UNROLL for (int i = 0; i < count; i++) {
    w[i] = V_load(weights + at[i] * step);
    from[i] = pixels + 4 * at[i];
  }
  UNROLL for (int p = 0; p < size; p++) {
    v128_t four, pairs;
    V_LOAD_AT(four, "v128.load32_splat", from[0], p * pitch);
    pairs = V_pairs(four, w[0]);
    if (count == 2) {
      V_LOAD_AT(four, "v128.load32_splat", from[1], p * pitch);
      pairs = wasm_i16x8_add(pairs, V_pairs(four, w[1]));
    }
    sums[p] = V_add(sums[p], wasm_i32x4_dot_i16x8(pairs, ones));
    V_IN_PLACE(sums[p]);
  }
}

/* The same of words, of a group whose products saturate: the even bytes, then the odd ones. */
V_INLINE void V_words_group(V_ints sums[V_MOST_PIXELS], const uint8_t *pixels, const int8_t *weights, int pitch, int size) {
  const v128_t w = V_load(weights), even = wasm_i16x8_shr(wasm_i16x8_shl(w, 8), 8), odd = wasm_i16x8_shr(w, 8);
  UNROLL for (int p = 0; p < size; p++) {
    v128_t four;
    V_LOAD_AT(four, "v128.load32_splat", pixels, p * pitch);
    const v128_t first = wasm_v128_and(four, wasm_i16x8_const_splat(255)), second = wasm_u16x8_shr(four, 8);
    sums[p] = V_add(V_add(sums[p], wasm_i32x4_dot_i16x8(first, even)), wasm_i32x4_dot_i16x8(second, odd));
    V_IN_PLACE(sums[p]);
  }
}

/* One tile: `size` pixels by four channels, whose sums stay in registers over all input channels. */
V_INLINE cursor V_tile(const uint8_t *pixels, const int8_t *weights, const group_number *order, int groups, v128_t start,
                       v128_t scale, int32_t offset, cursor out, int valid, uint8_t *sink, int pitch, int size, int step) {
  V_ints sums[V_MOST_PIXELS];
  UNROLL for (int p = 0; p < size; p++) sums[p] = start;
  v128_t ones;
  V_LOAD_AT(ones, "v128.load", V_ones, 0);
  const group_number *at = order + V_COUNTS, *const end = at + groups;
  ROLLED for (const group_number *last = at + 2 * order[0]; at < last; at += 2)
    V_bytes_group(sums, pixels, weights, at, 2, pitch, size, step, ones);
  ROLLED for (const group_number *last = at + order[1]; at < last; at++)
    V_bytes_group(sums, pixels, weights, at, 1, pitch, size, step, ones);
  ROLLED for (; at < end; at++) V_words_group(sums, pixels + 4 * *at, weights + *at * step, pitch, size);
  uint8_t *to[V_MOST_PIXELS];
  out = V_places(to, size, out, valid, sink);
  UNROLL for (int p = 0; p < size; p += 2) {
    const v128_t words = wasm_i16x8_narrow_i32x4(V_round(sums[p], scale, offset), V_round(sums[p + 1], scale, offset));
    const v128_t bytes = wasm_u8x16_narrow_i16x8(words, words);
    wasm_v128_store32_lane(to[p], bytes, 0);
    wasm_v128_store32_lane(to[p + 1], bytes, 1);
  }
  return out;
}

/* A column is sixteen lanes of a pair of vectors, or eight of a single one, which share an order. */
V_INLINE void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch, int pitch, int groups, int vectors) {
  const int columns = 2 * ((vectors + 1) / 2), step = 64 * vectors;
  const int32_t offset = HAS_ATTENTION ? p->offset : 0;
  ROLLED for (int block = begin; block < end; block++)
    ROLLED for (int four = 0; four < 4 * vectors; four++) {
      const int vector = four / 4, part = four % 4 / 2, span = vector / 2; /* of eight lanes; of two vectors */
      const int lane = 16 * vectors * block + 4 * four;
      const group_number *order = p->order + (ptrdiff_t)(block * columns + 2 * span + part) * (V_COUNTS + groups);
      const int8_t *weights = p->weights + (ptrdiff_t)block * groups * 64 * vectors + 16 * four;
      const v128_t start = V_load(p->bias[V_SIGNED] + lane), scale = wasm_v128_load(p->scale + lane);
      cursor to = out;
      to.at += 16 * vectors * block + channel_of_lane(4 * four, vectors);
      const uint8_t *from = strip;
      int left = pixels;
#define V_TILE_OF(size)                                                                                              \
  {                                                                                                                  \
    to = V_tile(from, weights, order, groups, start, scale, offset, to, left, scratch, pitch, size, step);           \
    from += size * pitch;                                                                                            \
    left -= size;                                                                                                    \
  }
      ROLLED while (left > 4) V_TILE_OF(8)
      if (left > 0) V_TILE_OF(4)
#undef V_TILE_OF
    }
}
