/* ==== Plain C: the same integers on any machine ========================================================= */

/* Adding 3 · 2^22 leaves the integer, rounded half to even, in the low bits of the fraction. Between product and
   sum stand comparisons, so no compiler can make one rounding of two. Where the machine computes in more than
   single precision, a variable in memory rounds. */
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD == 0
typedef float single;
#else
typedef volatile float single;
#endif

static inline int32_t rounded(single value, int32_t low, int32_t high) {
  value = value < (float)low ? (float)low : value;
  value = value > (float)high ? (float)high : value;
  single shifted = value + 12582912.0f;
  float copy = shifted;
  int32_t bits;
  memcpy(&bits, &copy, sizeof bits);
  return bits - 0x4B400000;
}

static inline uint8_t requantized(int32_t sum, float scale, int32_t offset) {
  single whole = (float)sum;
  single product = whole * scale;
  return (uint8_t)(rounded(product, -offset, 255 - offset) + offset);
}

static void plain_depthwise(map in, const filters *f, int begin, int end, map out, int width, int rows, int stride) {
  const int tap = 256 * (stride == 1 ? 2 : 1); /* bytes from one column of the kernel to the next */
  for (int block = begin; block < end; block++)
    for (int channel = 0; channel < 64; channel++) {
      /* The order in which byte interleaving leaves the channels: quarter, vector, lane. */
      const int lane = channel % 16 / 4 * 16 + channel / 16 * 4 + channel % 4;
      const int8_t *w = f->weights + (ptrdiff_t)block * 3 * tap + 4 * lane;
      const int32_t bias = f->bias[0][64 * block + lane];
      const float scale = f->scale[64 * block + lane];
      for (int y = 0; y < rows; y++)
        for (int x = 0; x < width; x++) {
          const uint8_t *from = in.data + stride * (y * in.row + x * in.pixel) + 64 * block + channel;
          int32_t sum = bias;
          for (int ky = 0; ky < 3; ky++)
            for (int kx = 0; kx < 3; kx++) sum += from[ky * in.row + kx * in.pixel] * w[kx * tap + ky];
          out.data[y * out.row + x * out.pixel + 64 * block + channel] = requantized(sum, scale, f->offset);
        }
    }
}

static void plain_depthwise_1(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  plain_depthwise(in, f, begin, end, out, width, rows, 1);
}

static void plain_depthwise_2(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  plain_depthwise(in, f, begin, end, out, width, rows, 2);
}

/* sums[lane] += the products of one pixel with a block's weights. */
static inline void plain_products(const uint8_t *pixel, const int8_t *w, int groups, int lanes, int32_t *sums) {
  for (int k = 0; k < groups; k++, pixel += 4, w += 4 * lanes)
    for (int lane = 0; lane < lanes; lane++)
      sums[lane] += pixel[0] * w[4 * lane] + pixel[1] * w[4 * lane + 1] + pixel[2] * w[4 * lane + 2] +
                    pixel[3] * w[4 * lane + 3];
}

/* Which channel of its block a lane holds: pairs of vectors take turns every four channels, for saturating packs. */
static inline int channel_of_lane(int lane, int vectors) {
  return lane < 32 && vectors > 1 ? lane % 16 / 4 * 8 + lane / 16 * 4 + lane % 4 : lane;
}

static void plain_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                            uint8_t *scratch) {
  const int lanes = 16 * p->vectors;
  (void)scratch;
  for (int i = 0; i < pixels; i++, advance(&out))
    for (int block = begin; block < end; block++) {
      int32_t sums[48];
      memcpy(sums, p->bias[0] + block * lanes, (size_t)lanes * sizeof *sums);
      plain_products(strip + (ptrdiff_t)i * p->pitch, p->weights + (ptrdiff_t)block * p->groups * 4 * lanes,
                     p->groups, lanes, sums);
      for (int lane = 0; lane < lanes; lane++)
        out.at[block * lanes + channel_of_lane(lane, p->vectors)] =
            requantized(sums[lane], p->scale[block * lanes + lane], p->offset);
    }
}

static void plain_add_pixels(const uint8_t *row, ptrdiff_t pixel, int width, int channels, int32_t *sums) {
  for (int x = 0; x < width; x++)
    for (int c = 0; c < channels; c++) sums[c] += row[x * pixel + c];
}

static void plain_gate_pixels(uint8_t *row, ptrdiff_t pixel, int width, int channels, const float *gates, float scale,
                              int in_offset, int out_offset) {
  for (int x = 0; x < width; x++)
    for (int c = 0; c < channels; c++) {
      uint8_t *value = row + x * pixel + c;
      single gated = (float)(*value - in_offset) * gates[c]; /* exact: integers below 2^16 */
      single product = gated * scale;
      *value = (uint8_t)(rounded(product, -out_offset, 255 - out_offset) + out_offset);
    }
}

static void plain_classify(const uint8_t *features, const panel *p, int begin, int end, int32_t *sums,
                           uint8_t *scratch) {
  const int lanes = 16 * p->vectors;
  (void)scratch;
  for (int block = begin; block < end; block++) {
    int32_t local[48];
    memcpy(local, p->bias[0] + block * lanes, (size_t)lanes * sizeof *local);
    plain_products(features, p->weights + (ptrdiff_t)block * p->groups * 4 * lanes, p->groups, lanes, local);
    for (int lane = 0; lane < lanes; lane++)
      sums[p->channel + block * lanes + channel_of_lane(lane, p->vectors)] = local[lane];
  }
}

static int plain_is_supported(void) { return 1; }
