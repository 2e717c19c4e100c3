/* ---- depthwise convolution: columns first, then outputs ---- */

/* Where registers are few and loads are cheap, sums do not walk along the row as in depthwise.c. Columns of sixteen
   channels are interleaved once and kept, as many as a segment of the row needs; then four channels at a time, tiles of
   outputs whose sums stay in registers. With stride 1, columns of four rows serve two rows of output. */
enum { V_SEGMENT = 28, V_OUTPUTS = 4, V_COLUMN = 8 }; /* outputs a segment, and a tile; vectors a column */
enum { V_TAPS = 16, V_MOST_TAPS = 6 * V_TAPS };       /* of four channels and one column; of both rows' three columns */

/* Taps of four channels, (channel, row) bytes, as the columns below. */
V_INLINE void V_widen_taps(const int8_t *taps, int count, V_weight *to) {
  ROLLED for (int i = 0; i < count; i++, taps += 256, to += V_TAPS) {
    const V_twos rows = V_split(taps);
    wasm_v128_store(to, rows.first);
    wasm_v128_store(to + 8, rows.last);
  }
}

/* Vector 2 · j + half of a column: rows 2 · half and the next of channels 4 · j to 4 · j + 3, in 16 bits. */
V_INLINE void V_keep_columns(const uint8_t *r, ptrdiff_t row, ptrdiff_t pixel, int stride, int count, v128_t *to) {
  ROLLED for (int x = 0; x < count; x++, r += pixel, to += V_COLUMN) {
    const v128_t third = V_load(r + 2 * row);
    const v128_t rows[4] = {V_load(r), V_load(r + row), third, stride == 1 ? V_load(r + 3 * row) : third};
    UNROLL for (int half = 0; half < 2; half++) {
      const v128_t a = rows[2 * half], b = rows[2 * half + 1];
      const v128_t low = wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const v128_t high = wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      to[half] = wasm_u16x8_extend_low_u8x16(low);
      to[2 + half] = wasm_u16x8_extend_high_u8x16(low);
      to[4 + half] = wasm_u16x8_extend_low_u8x16(high);
      to[6 + half] = wasm_u16x8_extend_high_u8x16(high);
    }
  }
}

/* Four channels of `size` outputs, with stride 1 of two rows. */
V_INLINE void V_outputs(const v128_t *columns, const V_weight *taps, const int32_t *bias, const float *scale,
                        int32_t offset, uint8_t *out, ptrdiff_t out_row, ptrdiff_t out_pixel, int size, int stride) {
  const int rows = 3 - stride;
  v128_t sums[2 * V_OUTPUTS];
  const v128_t start = V_load(bias), scales = wasm_v128_load(scale);
  UNROLL for (int i = 0; i < size * rows; i++) sums[i] = start;
  UNROLL for (int column = 0; column < 3; column++)
    UNROLL for (int half = 0; half < 2; half++) {
      v128_t w[2];
      UNROLL for (int y = 0; y < rows; y++)
        V_LOAD_AT(w[y], "v128.load", taps, 2 * (V_TAPS * (rows * column + y) + 8 * half));
      UNROLL for (int x = 0; x < size; x++) {
        v128_t two;
        V_LOAD_AT(two, "v128.load", columns, 16 * (V_COLUMN * (stride * x + column) + half));
        UNROLL for (int y = 0; y < rows; y++) {
          sums[x * rows + y] = V_add(sums[x * rows + y], wasm_i32x4_dot_i16x8(two, w[y]));
          V_IN_PLACE(sums[x * rows + y]);
        }
      }
    }
  UNROLL for (int i = 0; i < size * rows; i += 2) {
    const int next = i + 1 < size * rows ? i + 1 : i; /* the last of an odd number is stored twice */
    const v128_t words = wasm_i16x8_narrow_i32x4(V_round(sums[i], scales, offset), V_round(sums[next], scales, offset));
    const v128_t bytes = wasm_u8x16_narrow_i16x8(words, words);
    wasm_v128_store32_lane(out + i / rows * out_pixel + i % rows * out_row, bytes, 0);
    wasm_v128_store32_lane(out + next / rows * out_pixel + next % rows * out_row, bytes, 1);
  }
}

V_INLINE void V_depthwise(map in, const filters *f, int begin, int end, map out, int width, int height, int stride) {
  const int rows = 3 - stride, taps = 3 * rows;
  const int32_t offset = HAS_ATTENTION ? f->offset : 0;
  V_weight room[4 * V_MOST_TAPS];
  v128_t columns[V_COLUMN * (2 * V_SEGMENT + 1)];
  ROLLED for (int block = begin; block < end; block++)
    ROLLED for (int slice = 0; slice < 16; slice += V_LANES) {
      const int8_t *packed = f->weights + (ptrdiff_t)block * taps * 256 + 4 * slice;
      ROLLED for (int j = 0; j < 4; j++) V_widen_taps(packed + 64 * j, taps, room + V_MOST_TAPS * j);
      ROLLED for (int y = 0; y < height; y += rows)
        ROLLED for (int x = 0; x < width; x += V_SEGMENT) {
          const int count = width - x < V_SEGMENT ? width - x : V_SEGMENT, channel = 64 * block + 4 * slice;
          V_keep_columns(in.data + stride * (y * in.row + x * in.pixel) + channel, in.row, in.pixel, stride,
                         stride * (count - 1) + 3, columns);
          ROLLED for (int j = 0; j < 4; j++) {
            const int lane = 64 * block + 16 * j + slice;
            const v128_t *from = columns + 2 * j;
            uint8_t *to = out.data + y * out.row + x * out.pixel + channel + 4 * j;
            int left = count;
#define V_TILE_OF(size)                                                                                               \
  V_outputs(from, room + V_MOST_TAPS * j, f->bias[V_SIGNED] + lane, f->scale + lane, offset, to, out.row, out.pixel, \
            size, stride)
            ROLLED for (; left >= V_OUTPUTS; left -= V_OUTPUTS) {
              V_TILE_OF(V_OUTPUTS);
              from += V_COLUMN * stride * V_OUTPUTS;
              to += V_OUTPUTS * out.pixel;
            }
            if (left == 1) V_TILE_OF(1);
            if (left == 2) V_TILE_OF(2);
            if (left == 3) V_TILE_OF(3);
#undef V_TILE_OF
          }
        }
    }
}

V_KERNEL void V_depthwise_1(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  V_depthwise(in, f, begin, end, out, width, rows, 1);
}

V_KERNEL void V_depthwise_2(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  V_depthwise(in, f, begin, end, out, width, rows, 2);
}
