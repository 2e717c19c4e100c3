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
  for (int block = begin; block < end; block++) {
    int32_t weights[9][64], bias[64];
    float scale[64];
    for (int channel = 0; channel < 64; channel++) {
      /* The order in which byte interleaving leaves the channels: quarter, vector, lane. */
      const int lane = channel % 16 / 4 * 16 + channel / 16 * 4 + channel % 4;
      for (int k = 0; k < 9; k++)
        weights[k][channel] = f->weights[(ptrdiff_t)block * 3 * tap + k % 3 * tap + 4 * lane + k / 3];
      bias[channel] = f->bias[0][64 * block + lane];
      scale[channel] = f->scale[64 * block + lane];
    }
    for (int y = 0; y < rows; y++)
      for (int x = 0; x < width; x++) {
        const uint8_t *from = in.data + stride * (y * in.row + x * in.pixel) + 64 * block;
        int32_t sums[64];
        memcpy(sums, bias, sizeof sums);
        for (int k = 0; k < 9; k++) {
          const uint8_t *values = from + k / 3 * in.row + k % 3 * in.pixel;
          for (int channel = 0; channel < 64; channel++) sums[channel] += values[channel] * weights[k][channel];
        }
        for (int channel = 0; channel < 64; channel++)
          out.data[y * out.row + x * out.pixel + 64 * block + channel] =
              requantized(sums[channel], scale[channel], f->offset);
      }
  }
}

static void plain_depthwise_1(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  plain_depthwise(in, f, begin, end, out, width, rows, 1);
}

static void plain_depthwise_2(map in, const filters *f, int begin, int end, map out, int width, int rows) {
  plain_depthwise(in, f, begin, end, out, width, rows, 2);
}

/* Sums of sixteen lanes: the bias and the products of one pixel. A loop of constant length is one that compilers turn
   into vectors. */
static inline void plain_products(const uint8_t *pixel, const int8_t *w, int groups, int step, const int32_t *bias,
                                  int32_t *sums) {
  int32_t local[16];
  memcpy(local, bias, sizeof local);
  for (int k = 0; k < groups; k++, pixel += 4, w += step) {
    const int32_t a = pixel[0], b = pixel[1], c = pixel[2], d = pixel[3];
    for (int lane = 0; lane < 16; lane++)
      local[lane] += a * w[4 * lane] + b * w[4 * lane + 1] + c * w[4 * lane + 2] + d * w[4 * lane + 3];
  }
  memcpy(sums, local, sizeof local);
}

/* Which channel of its block a lane holds: pairs of vectors take turns every four channels, for saturating packs. */
static inline int channel_of_lane(int lane, int vectors) {
  return lane < 32 && vectors > 1 ? lane % 16 / 4 * 8 + lane / 16 * 4 + lane % 4 : lane;
}

/* All lanes of a block. */
static void plain_block(const uint8_t *pixel, const panel *p, int block, int32_t *sums) {
  const int first = 16 * p->vectors * block;
  for (int v = 0; v < p->vectors; v++)
    plain_products(pixel, p->weights + (ptrdiff_t)first * 4 * p->groups + 64 * v, p->groups, 64 * p->vectors,
                   p->bias[0] + first + 16 * v, sums + 16 * v);
}

static void plain_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                            uint8_t *scratch) {
  (void)scratch;
  for (int i = 0; i < pixels; i++, out = advanced(out, 1))
    for (int block = begin; block < end; block++) {
      const int first = 16 * p->vectors * block;
      int32_t sums[48];
      plain_block(strip + (ptrdiff_t)i * p->pitch, p, block, sums);
      for (int lane = 0; lane < 16 * p->vectors; lane++)
        out.at[first + channel_of_lane(lane, p->vectors)] = requantized(sums[lane], p->scale[first + lane], p->offset);
    }
}

static void plain_add_pixels(map in, int height, int width, int channels, int32_t *sums) {
  memset(sums, 0, (size_t)channels * sizeof *sums);
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      for (int c = 0; c < channels; c++) sums[c] += in.data[y * in.row + x * in.pixel + c];
}

/* sums / count · step / unit, rounded. */
static void plain_round_averages(const int32_t *sums, int channels, float count, float step, float unit, uint8_t *out) {
  for (int c = 0; c < channels; c++) {
    single mean = (float)sums[c] / count;
    single average = mean * step;
    single units = average / unit;
    out[c] = (uint8_t)rounded(units, 0, 255);
  }
}

/* sums += values · weights, (inputs, outputs), in double precision; outputs are a multiple of 8. */
static void plain_dense(const float *weights, const double *values, int inputs, double *sums, int outputs) {
  for (int i = 0; i < inputs; i++, weights += outputs)
    for (int o = 0; o < outputs; o++) sums[o] += values[i] * weights[o];
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

static void plain_classify(const uint8_t *features, const panel *p, int begin, int end, int32_t *out,
                           uint8_t *scratch) {
  (void)scratch;
  for (int block = begin; block < end; block++) {
    int32_t sums[48];
    plain_block(features, p, block, sums);
    for (int lane = 0; lane < 16 * p->vectors; lane++)
      out[p->channel + 16 * p->vectors * block + channel_of_lane(lane, p->vectors)] = sums[lane];
  }
}

static int plain_is_supported(void) { return 1; }
