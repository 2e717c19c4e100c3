/* ---- depthwise convolution ---- */

/* A row's bytes are interleaved with those of the rows below, so that one dot product takes a whole column of the
   kernel. Walking along the row, each interleaved column serves three outputs: it ends one, goes on with the next and
   starts the one after, so three sets of sums take turns. With stride 1, four rows serve two rows of output: the
   second one's weights are the same, one byte further. V_TURN vectors of channels at a time, with stride 1 V_TURN_1,
   as registers allow. */

/* Where an engine has few registers, pointers that walk are not multiplied into one for every column of the loop. */
#ifndef V_IN_PLACE
#define V_IN_PLACE(value) ((void)0)
#endif

/* Where an engine has few registers, taps and scales are read from memory whenever they are wanted. */
#ifndef V_HOLDS_TAPS
#define V_HOLDS_TAPS 0
enum { V_TURN_1 = V_TURN };
typedef const float *V_steps;
V_INLINE V_steps V_load_steps(const float *scale, int is_lifted) { return (void)is_lifted, scale; }
#define V_interleave_1 V_interleave
#define V_store_turn_1 V_store_turn
#endif

typedef struct {
  V_ints upper[V_TURN_1], lower[V_TURN_1];
} V_pair;

typedef struct { /* Taps of three columns, for the upper row of output, then for the lower one; what sums begin at. */
  V_held taps[6][V_TURN_1];
  V_ints bias[V_TURN_1];
} V_kept;

V_INLINE void V_keep(V_kept *kept, const V_weight *w, const int32_t *bias, int is_lifted) {
  if (!V_HOLDS_TAPS) return;
  UNROLL for (int j = 0; j < V_TURN_1; j++) {
    kept->bias[j] = V_start(bias + 16 * j, is_lifted);
    UNROLL for (int k = 0; k < 6; k++) kept->taps[k][j] = V_hold(w + V_TAPS * k + 64 * j);
  }
}

V_INLINE V_held V_tap(const V_weight *w, const V_kept *kept, int number, int j) {
  return V_HOLDS_TAPS ? kept->taps[number][j] : V_hold(w + V_TAPS * number + 64 * j);
}

/* sums + the products of one column of the kernel with two rows of output. */
V_INLINE void V_column(V_pair *sums, const V_bytes *d, const V_weight *w, const V_kept *kept, int column) {
  UNROLL for (int j = 0; j < V_TURN_1; j++) {
    sums->upper[j] = V_dot_taps(sums->upper[j], d[j], V_tap(w, kept, 2 * column, j));
    sums->lower[j] = V_dot_taps(sums->lower[j], d[j], V_tap(w, kept, 2 * column + 1, j));
  }
}

V_INLINE void V_begin(V_pair *sums, const V_bytes *d, const V_weight *w, const V_kept *kept, const int32_t *bias) {
  UNROLL for (int j = 0; j < V_TURN_1; j++)
    sums->upper[j] = sums->lower[j] = V_HOLDS_TAPS ? kept->bias[j] : V_load(bias + 16 * j);
  V_column(sums, d, w, kept, 0);
}

/* Two rows of output, `width` wide, of four of input from r on. */
V_INLINE void V_two_rows(const uint8_t *r, ptrdiff_t row, ptrdiff_t pixel, const V_weight *w, const int32_t *bias,
                         const float *scale, int is_lifted, int32_t offset, uint8_t *out, ptrdiff_t out_row,
                         ptrdiff_t out_pixel, int width, int turn) {
  const uint8_t *r2 = r + 2 * row;
  V_kept kept;
  V_keep(&kept, w, bias, is_lifted);
  const V_steps steps = V_load_steps(scale, is_lifted);
  V_pair first, second, third;
#define V_NEXT                                                        \
  V_bytes d[V_TURN_1];                                                \
  V_interleave_1(r, r + row, r2, r2 + row, turn, d);                  \
  r += pixel;                                                         \
  r2 += pixel;                                                        \
  V_IN_PLACE(r);                                                      \
  V_IN_PLACE(r2);
#define V_END(sums)                                                   \
  V_column(&sums, d, w, &kept, 2);                                    \
  V_store_turn_1(out, sums.upper, steps, offset, turn);               \
  V_store_turn_1(out + out_row, sums.lower, steps, offset, turn);     \
  out += out_pixel;                                                   \
  V_IN_PLACE(out);
  {
    V_NEXT V_begin(&first, d, w, &kept, bias);
  }
  {
    V_NEXT V_column(&first, d, w, &kept, 1);
    V_begin(&second, d, w, &kept, bias);
  }
  ROLLED for (; width >= 3; width -= 3) {
    {
      V_NEXT V_END(first) V_column(&second, d, w, &kept, 1);
      V_begin(&third, d, w, &kept, bias);
    }
    {
      V_NEXT V_END(second) V_column(&third, d, w, &kept, 1);
      V_begin(&first, d, w, &kept, bias);
    }
    {
      V_NEXT V_END(third) V_column(&first, d, w, &kept, 1);
      V_begin(&second, d, w, &kept, bias);
    }
  }
  if (width > 0) {
    V_NEXT V_END(first) V_column(&second, d, w, &kept, 1);
  }
  if (width > 1) {
    V_NEXT V_END(second)
  }
#undef V_NEXT
#undef V_END
}

/* One row of output with stride 2: of three columns the last is the next one's first. The taps stay in registers. */
V_INLINE void V_one_row(const uint8_t *r, ptrdiff_t row, ptrdiff_t pixel, const V_weight *w, const int32_t *bias,
                        const float *scale, int32_t offset, uint8_t *out, ptrdiff_t out_pixel, int width, int turn) {
  V_bytes last[V_TURN];
  V_held taps[3][V_TURN];
  UNROLL for (int k = 0; k < 3; k++)
    UNROLL for (int j = 0; j < V_TURN; j++) taps[k][j] = V_hold(w + V_TAPS * k + 64 * j);
  V_interleave(r, r + row, r + 2 * row, r + 2 * row, turn, last);
  ROLLED for (int x = 0; x < width; x++) {
    V_ints sums[V_TURN];
    V_bytes d[V_TURN];
    UNROLL for (int j = 0; j < V_TURN; j++) sums[j] = V_dot_taps(V_load(bias + 16 * j), last[j], taps[0][j]);
    r += pixel;
    V_IN_PLACE(r);
    V_interleave(r, r + row, r + 2 * row, r + 2 * row, turn, d);
    UNROLL for (int j = 0; j < V_TURN; j++) sums[j] = V_dot_taps(sums[j], d[j], taps[1][j]);
    r += pixel;
    V_IN_PLACE(r);
    V_interleave(r, r + row, r + 2 * row, r + 2 * row, turn, last);
    UNROLL for (int j = 0; j < V_TURN; j++) sums[j] = V_dot_taps(sums[j], last[j], taps[2][j]);
    V_store_turn(out, sums, scale, offset, turn);
    out += out_pixel;
  }
}

/* With an odd number of rows one more is computed; there is room for it below. The taps are prepared for every pair of
   rows: with that before the loop, gcc 12 made AVX-512 4 % slower. */
V_KERNEL void V_depthwise_1(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  V_weight room[V_TAPS_ROOM];
  for (int block = begin; block < end; block++)
    for (int slice = 0; slice < 16; slice += V_LANES)
      UNROLL for (int turn = 0; turn < 4; turn += V_TURN_1) {
        const int channel = 64 * block + 4 * slice, lane = 64 * block + 16 * turn + slice;
        for (int y = 0; y < rows; y += 2) {
          const V_weight *taps = V_prepare_taps(f->weights + (ptrdiff_t)block * 1536 + 64 * turn + 4 * slice, 6, room);
#define V_TWO_ROWS(is_lifted, offset)                                                                           \
  V_two_rows(in.data + y * in.row + channel, in.row, in.pixel, taps, f->bias[V_SIGNED] + lane, f->scale + lane, \
             is_lifted, offset, out.data + y * out.row + channel, out.row, out.pixel, width, turn)
          if (V_HOLDS_TAPS && (!HAS_PLAIN_SUMS || f->is_lifted)) V_TWO_ROWS(1, 0);
          else V_TWO_ROWS(0, HAS_ATTENTION ? f->offset : 0);
#undef V_TWO_ROWS
        }
      }
}

V_KERNEL void V_depthwise_2(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  V_weight room[V_TAPS_ROOM];
  for (int block = begin; block < end; block++)
    for (int slice = 0; slice < 16; slice += V_LANES)
      UNROLL for (int turn = 0; turn < 4; turn += V_TURN) {
        const int channel = 64 * block + 4 * slice, lane = 64 * block + 16 * turn + slice;
        const V_weight *taps = V_prepare_taps(f->weights + (ptrdiff_t)block * 768 + 64 * turn + 4 * slice, 3, room);
        for (int y = 0; y < rows; y++)
          V_one_row(in.data + 2 * y * in.row + channel, in.row, in.pixel, taps, f->bias[V_SIGNED] + lane,
                    f->scale + lane, HAS_ATTENTION ? f->offset : 0, out.data + y * out.row + channel, out.pixel, width,
                    turn);
      }
}
