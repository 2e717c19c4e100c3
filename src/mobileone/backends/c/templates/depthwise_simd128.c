/* ---- depthwise convolution ---- */

/* Four channels at a time. Bytes of rows 0 and 1, then 2 and 3, are interleaved and widened, so that two products of 16
   bits take a column of the kernel; the weights are widened once for all places of a strip. */

typedef struct {
  V_ints above, below; /* rows 0 and 1, rows 2 and 3 */
} V_taps;

/* Four channels' weights, (channel, row) bytes. */
V_INLINE V_taps V_widen_taps(const int8_t *w) {
  const v128_t bytes = wasm_v128_load(w);
  const v128_t split = wasm_i16x8_shuffle(bytes, bytes, 0, 2, 4, 6, 1, 3, 5, 7);
  const V_taps taps = {wasm_i16x8_extend_low_i8x16(split), wasm_i16x8_extend_high_i8x16(split)};
  return taps;
}

V_INLINE V_ints V_two_rows(const uint8_t *upper, const uint8_t *lower) {
  const v128_t a = wasm_v128_load32_zero(upper), b = wasm_v128_load32_zero(lower);
  return wasm_u16x8_extend_low_u8x16(
      wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
}

V_INLINE V_ints V_dot_taps(V_ints sums, const V_taps *values, const V_taps *w) {
  return V_dot(V_dot(sums, values->above, w->above), values->below, w->below);
}

V_INLINE void V_store_four(uint8_t *out, V_ints sums, v128_t scale, int32_t offset) {
  V_narrow(out, V_round(sums, scale, offset));
}

V_INLINE void V_four_channels(map in, const int8_t *weights, V_ints bias, v128_t scale, int32_t offset, map out,
                              int width, int rows) {
  V_taps w[2][3];
  for (int row = 0; row < 2; row++)
    for (int x = 0; x < 3; x++) w[row][x] = V_widen_taps(weights + 512 * x + 256 * row);
  for (int y = 0; y < rows; y += 2) {
    const uint8_t *r = in.data + y * in.row;
    uint8_t *to = out.data + y * out.row;
    V_taps a = {V_two_rows(r, r + in.row), V_two_rows(r + 2 * in.row, r + 3 * in.row)};
    r += in.pixel;
    V_taps b = {V_two_rows(r, r + in.row), V_two_rows(r + 2 * in.row, r + 3 * in.row)};
    for (int x = 0; x < width; x++, to += out.pixel) {
      r += in.pixel;
      const V_taps c = {V_two_rows(r, r + in.row), V_two_rows(r + 2 * in.row, r + 3 * in.row)};
      V_ints upper = V_dot_taps(V_dot_taps(V_dot_taps(bias, &a, &w[0][0]), &b, &w[0][1]), &c, &w[0][2]);
      V_ints lower = V_dot_taps(V_dot_taps(V_dot_taps(bias, &a, &w[1][0]), &b, &w[1][1]), &c, &w[1][2]);
      V_store_four(to, upper, scale, offset);
      V_store_four(to + out.row, lower, scale, offset);
      a = b;
      b = c;
    }
  }
}

V_INLINE void V_four_channels_2(map in, const int8_t *weights, V_ints bias, v128_t scale, int32_t offset, map out,
                                int width, int rows) {
  V_taps w[3];
  for (int x = 0; x < 3; x++) w[x] = V_widen_taps(weights + 256 * x);
  for (int y = 0; y < rows; y++) {
    const uint8_t *r = in.data + 2 * y * in.row;
    uint8_t *to = out.data + y * out.row;
    V_taps a = {V_two_rows(r, r + in.row), V_two_rows(r + 2 * in.row, r + 2 * in.row)};
    for (int x = 0; x < width; x++, to += out.pixel) {
      r += in.pixel;
      const V_taps b = {V_two_rows(r, r + in.row), V_two_rows(r + 2 * in.row, r + 2 * in.row)};
      r += in.pixel;
      const V_taps c = {V_two_rows(r, r + in.row), V_two_rows(r + 2 * in.row, r + 2 * in.row)};
      V_store_four(to, V_dot_taps(V_dot_taps(V_dot_taps(bias, &a, &w[0]), &b, &w[1]), &c, &w[2]), scale, offset);
      a = c;
    }
  }
}

/* A block's 64 channels lie as interleaving in wider vectors leaves them: quarter, vector, lane. */
#define V_BLOCKS(kernel, bytes)                                                                              \
  for (int block = begin; block < end; block++)                                                              \
    for (int four = 0; four < 16; four++) {                                                                  \
      const int lane = 64 * block + four % 4 * 16 + four / 4 * 4, channel = 64 * block + 4 * (four % 4) + 16 * (four / 4); \
      const map from = {in.data + channel, in.row, in.pixel}, to = {out.data + channel, out.row, out.pixel};  \
      kernel(from, f->weights + (ptrdiff_t)block * bytes + 4 * (lane - 64 * block), V_load(f->bias[V_SIGNED] + lane), \
             wasm_v128_load(f->scale + lane), HAS_ATTENTION ? f->offset : 0, to, width, rows);                \
    }

/* With an odd number of rows one more is computed; there is room for it below. */
V_KERNEL void V_depthwise_1(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  V_BLOCKS(V_four_channels, 1536)
}

V_KERNEL void V_depthwise_2(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  V_BLOCKS(V_four_channels_2, 768)
}
#undef V_BLOCKS
