/* ==== One image's way through the network =============================================================== */

typedef struct {
  const uint8_t *pixels;
  ptrdiff_t pitch; /* bytes from one row of the image to the next */
  uint8_t *workspace;
  float *logits;
  const kernels *k;
  int threads;
} job;

static inline map map_of(const job *j, const layout *l) {
  map m = {j->workspace + l->offset, (ptrdiff_t)(l->width + 2 * l->border) * l->pixel, l->pixel};
  return m;
}

static inline uint8_t *pixel_at(map m, int y, int x) { return m.data + y * m.row + x * m.pixel; }

static inline uint8_t *thread_block(const job *j, int thread) {
  return j->workspace + SHARED_BYTES + (size_t)thread * THREAD_BYTES;
}

/* Zeros around rows y0 to y1 of the map that a step writes, where they are not there from the step before last. */
static void clear_border(const step *s, map m, int y0, int y1) {
  const layout *l = s->out;
  if (!s->clears) return;
  if (y0 == 0) memset(m.data, 0, (size_t)m.row);
  if (y1 == l->height) memset(pixel_at(m, l->height + 1, 0), 0, (size_t)m.row);
  for (int y = y0; y < y1; y++) {
    memset(pixel_at(m, y + 1, 0), 0, (size_t)m.pixel);
    memset(pixel_at(m, y + 1, l->width + 1), 0, (size_t)m.pixel);
  }
}

/* ---- convolutions ---- */

static void multiply(const job *j, int thread, const panel *panels, int count, const uint8_t *strip, int pixels,
                     cursor out) {
  uint8_t *scratch = thread_block(j, thread) + SCRATCH_AT;
  for (int i = 0; i < count; i++) {
    cursor to = out;
    to.at += panels[i].channel;
    j->k->pointwise[panels[i].shape](strip, pixels, &panels[i], 0, panels[i].blocks, to, scratch);
  }
}

static inline cursor cursor_at(map m, const layout *l, int y) {
  cursor c = {pixel_at(m, y + l->border, l->border), l->pixel, 0, l->width, 2 * l->border * l->pixel};
  return c;
}

/* What the first convolution reads for outputs x0 to x1 of a row, pixel after pixel, at the image's edges. */
static void gather_edge(const uint8_t *const *rows, int x0, int x1, uint8_t *to) {
  for (int x = x0; x < x1; x++)
    for (int ky = 0; ky < STEM_KERNEL_H; ky++)
      for (int kx = 0; kx < STEM_KERNEL_W; kx++) {
        const int from = x * STEM_STRIDE_W - STEM_PADDING_W + kx;
        memcpy(to + x * STEM_PITCH + (ky * STEM_KERNEL_W + kx) * IMAGE_CHANNELS,
               from >= 0 && from < IMAGE_WIDTH ? rows[ky] + from * IMAGE_CHANNELS : border_row, IMAGE_CHANNELS);
      }
}

/* The same for a whole row. Away from the edges, short runs are copied 16 bytes at a time; what is too much is
   overwritten by the next. */
static void gather_row(const job *j, int y, uint8_t *to) {
  enum {
    RUN = STEM_KERNEL_W * IMAGE_CHANNELS,
    LINE = IMAGE_WIDTH * IMAGE_CHANNELS,
    FIRST = (STEM_PADDING_W + STEM_STRIDE_W - 1) / STEM_STRIDE_W,
    REACHED = RUN >= 3 && RUN <= 16 && LINE >= 16 ? ((LINE - 16) / IMAGE_CHANNELS + STEM_PADDING_W) / STEM_STRIDE_W + 1 : 0,
    INSIDE = REACHED ? (IMAGE_WIDTH + STEM_PADDING_W - STEM_KERNEL_W) / STEM_STRIDE_W + 1 : 0,
    WITHIN = REACHED < STEM_WIDTH ? REACHED : STEM_WIDTH,
    MOST = INSIDE < STEM_WIDTH ? INSIDE : STEM_WIDTH
  };
  int behind = MOST < FIRST ? FIRST : MOST; /* another row follows: reading beyond the end is no harm */
  const uint8_t *rows[STEM_KERNEL_H];
  UNROLL for (int ky = 0; ky < STEM_KERNEL_H; ky++) {
    const int from = y * STEM_STRIDE_H - STEM_PADDING_H + ky;
    rows[ky] = from >= 0 && from < IMAGE_HEIGHT ? j->pixels + from * j->pitch : border_row;
    if (from == IMAGE_HEIGHT - 1) behind = WITHIN < FIRST ? FIRST : WITHIN;
  }
  gather_edge(rows, 0, FIRST, to);
  int x = FIRST;
  if (j->k->gather_pairs != NULL) x = j->k->gather_pairs(rows, x, behind, to);
  for (; x < behind; x++) {
    const ptrdiff_t from = (x * STEM_STRIDE_W - STEM_PADDING_W) * IMAGE_CHANNELS;
    UNROLL for (int ky = 0; ky < STEM_KERNEL_H; ky++) memcpy(to + x * STEM_PITCH + ky * RUN, rows[ky] + from, 16);
  }
  gather_edge(rows, behind, STEM_WIDTH, to);
}

static void stem_row(const job *j, int thread, int y, cursor out) {
  uint8_t *gathered = thread_block(j, thread) + GATHER_AT;
  gather_row(j, y, gathered);
  multiply(j, thread, stem_panels, STEM_PANELS, gathered, STEM_WIDTH, out);
}

/* The pointwise half, of rows that lie in the thread's strip. */
static void finish_unit(const job *j, int thread, const step *s, int y0, int y1) {
  const map out = map_of(j, s->out);
  clear_border(s, out, y0, y1);
  multiply(j, thread, s->panels, s->num_panels, thread_block(j, thread) + STRIP_AT, (y1 - y0) * s->out->width,
           cursor_at(out, s->out, y0));
}

static void run_unit(const job *j, int thread, const step *s, int y0, int y1) {
  map in = map_of(j, s->in);
  in.data = pixel_at(in, s->stride * y0, 0);
  const ptrdiff_t pitch = s->panels[0].pitch;
  const map rows = {thread_block(j, thread) + STRIP_AT, pitch * s->out->width, pitch};
  j->k->depthwise[s->stride - 1](in, s->depthwise, 0, s->depthwise->blocks, rows, s->out->width, y1 - y0);
  finish_unit(j, thread, s, y0, y1);
}

/* Three rows of the first convolution, zeros around them, lie in the thread's own block: what one row behind it reads.
   The last of them is the next one's first, so rows follow one another downwards, then upwards, then downwards. */
static void run_stem_unit(const job *j, int thread, const step *s, int y0, int y1) {
  const layout *l = s->in;
  const map rows = {thread_block(j, thread) + STEM_AT, (ptrdiff_t)(l->width + 2) * l->pixel, l->pixel};
  const ptrdiff_t pitch = s->panels[0].pitch;
  uint8_t *strip = thread_block(j, thread) + STRIP_AT;
  kept_rows *kept = (kept_rows *)(void *)thread_block(j, thread);
  int at = kept->slot, first = kept->next == y0 && y0 > 0 ? 1 : 0;
  for (int i = 0; i < 3 && !first; i++) {
    memset(pixel_at(rows, i, 0), 0, (size_t)l->pixel);
    memset(pixel_at(rows, i, l->width + 1), 0, (size_t)l->pixel);
  }
  for (int y = y0; y < y1; y++, first = 1) {
    const int down = at == 0 ? 1 : -1;
    for (int i = first; i < 3; i++) {
      const int from = 2 * y - 1 + i;
      uint8_t *row = pixel_at(rows, at + down * i, 0);
      const cursor out = {row + l->pixel, l->pixel, 0, l->width, 2 * l->pixel};
      if (from >= 0 && from < l->height) stem_row(j, thread, from, out);
      else memset(row, 0, (size_t)rows.row);
    }
    const map in = {pixel_at(rows, at, 0), down * rows.row, l->pixel};
    const map to = {strip + (y - y0) * pitch * s->out->width, 0, pitch};
    j->k->depthwise[1](in, s->depthwise, 0, s->depthwise->blocks, to, s->out->width, 1);
    at += 2 * down;
  }
  kept->next = y1;
  kept->slot = at;
  finish_unit(j, thread, s, y0, y1);
}

/* ---- averages, gates, head ---- */

enum { SUM_BLOCK = 64 }; /* channels */

static void sum_map(const job *j, const layout *l, int begin, int end) {
  const int channel = SUM_BLOCK * begin, channels = smaller(SUM_BLOCK * end, l->pixel) - channel;
  map m = map_of(j, l);
  m.data = pixel_at(m, l->border, l->border) + channel;
  j->k->add_pixels(m, l->height, l->width, channels, (int32_t *)(void *)(j->workspace + SUMS_AT) + channel);
}

#if HAS_ATTENTION || NUM_CLASSES
/* e^x to 1e-15, without a library: 2^power times the series of a rest below 0.35. */
static inline double exponential(double x) {
  static const double terms[14] = {1,           1,           1.0 / 2,      1.0 / 6,       1.0 / 24,
                                   1.0 / 120,   1.0 / 720,   1.0 / 5040,   1.0 / 40320,   1.0 / 362880,
                                   1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
  x = x < -700 ? -700 : x > 700 ? 700 : x;
  const int power = (int)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
  const double rest = x - power * 0.693147180369123816490 - power * 1.90821492927058770002e-10;
  double sum = 1.0 / 87178291200;
  UNROLL for (int i = 13; i >= 0; i--) sum = sum * rest + terms[i];
  const uint64_t bits = (uint64_t)(power + 1023) << 52;
  double scale;
  memcpy(&scale, &bits, sizeof scale);
  return sum * scale;
}
#endif

#if HAS_ATTENTION
static void find_gates(const job *j, const step *s) {
  const attention *a = s->attention;
  const int32_t *sums = (const int32_t *)(const void *)(j->workspace + SUMS_AT);
  float *gates = (float *)(void *)(j->workspace + GATES_AT);
  double *averages = (double *)(void *)(j->workspace + AVERAGES_AT);
  double *hidden = (double *)(void *)(j->workspace + HIDDEN_AT);
  const int count = s->in->height * s->in->width;
  for (int c = 0; c < a->channels; c++) {
    single mean = (float)(sums[c] - a->in_offset * count) / (float)count;
    single average = (float)rounded(mean, -255, 255) * a->step;
    averages[c] = average;
  }
  for (int h = 0; h < a->padded_hidden; h++) hidden[h] = a->reduce_bias[h];
  j->k->dense(a->reduce, averages, a->channels, hidden, a->padded_hidden);
  for (int h = 0; h < a->hidden; h++) hidden[h] = hidden[h] > 0 ? hidden[h] : 0;
  for (int c = 0; c < a->padded_channels; c++) averages[c] = a->expand_bias[c];
  j->k->dense(a->expand, hidden, a->hidden, averages, a->padded_channels);
  memset(gates, 0, (size_t)s->in->pixel * sizeof *gates);
  for (int c = 0; c < a->channels; c++) {
    const int gate = (int)(256 / (1 + exponential(-averages[c])) + 0.5);
    gates[c] = (float)(gate > 255 ? 255 : gate);
  }
}

static void apply_gates(const job *j, const step *s, int y0, int y1) {
  const map m = map_of(j, s->in);
  const attention *a = s->attention;
  for (int y = y0; y < y1; y++)
    j->k->gate_pixels(pixel_at(m, y + s->in->border, s->in->border), m.pixel, s->in->width, s->in->pixel,
                      (const float *)(const void *)(j->workspace + GATES_AT), a->scale, a->in_offset, a->out_offset);
}
#endif

#if HAS_FEATURES
static void give_map(const job *j, const step *s, int y0, int y1) {
  const map m = map_of(j, s->in);
  float *to = j->logits + s->map_at + (ptrdiff_t)y0 * s->in->width * s->map_channels;
  for (int y = y0; y < y1; y++)
    for (int x = 0; x < s->in->width; x++) {
      const uint8_t *pixel = pixel_at(m, y + s->in->border, x + s->in->border);
      for (int c = 0; c < s->map_channels; c++) *to++ = (float)pixel[c] * s->map_scale[c];
    }
}
#endif

/* Where maps are the output, the sums are for the self-test alone. */
static void pool(const job *j, const step *s) {
  const int32_t *sums = (const int32_t *)(const void *)(j->workspace + SUMS_AT);
  const float count = (float)(s->in->height * s->in->width);
  (void)sums, (void)count;
#if NUM_CLASSES
  uint8_t *features = j->workspace + FEATURES_AT;
  memset(features + NUM_FEATURES, 0, FEATURE_BYTES - NUM_FEATURES);
  j->k->round_averages(sums, NUM_FEATURES, count, LAST_STEP, POOLED_STEP, features);
#elif !HAS_FEATURES
  for (int c = 0; c < NUM_FEATURES; c++) {
    single mean = (float)sums[c] / count;
    single average = mean * LAST_STEP;
    j->logits[c] = average;
  }
#endif
}

#if NUM_CLASSES
/* Integers times scale are exact in double precision, so the logits are the same whether or not a compiler makes one
   rounding of product and sum. */
static void classify(const job *j, int thread, const step *s, int begin, int end) {
  int32_t *sums = (int32_t *)(void *)(j->workspace + CLASS_SUMS_AT);
  for (int i = 0; i < s->num_panels; i++) {
    const panel *p = &s->panels[i];
    const int from = begin > 0 ? begin : 0, to = end < p->blocks ? end : p->blocks;
    if (from < to) {
      j->k->classify(j->workspace + FEATURES_AT, p, from, to, sums, thread_block(j, thread) + SCRATCH_AT);
      for (int c = p->channel + 16 * p->vectors * from; c < p->channel + 16 * p->vectors * to && c < NUM_CLASSES; c++)
        j->logits[c] = (float)((double)sums[c] * classifier_scale[c] + classifier_bias[c]);
    }
    begin -= p->blocks;
    end -= p->blocks;
  }
}
#endif

/* ---- steps, in shares and chunks ---- */

static int blocks_of(const step *s) {
  int total = 0;
  for (int i = 0; i < s->num_panels; i++) total += s->panels[i].blocks;
  return total;
}

/* What a step can be cut into. */
static int length_of(const step *s) {
  switch (s->kind) {
    case STEM:
    case STEM_UNIT:
    case UNIT:
    case POINTWISE: return s->out->height;
    case FEATURES:
    case GATE: return s->in->height;
    case DEPTHWISE: return s->depthwise->blocks;
    case SUM: return divided_up(s->in->pixel, SUM_BLOCK);
    case PANELS:
    case CLASSIFY: return blocks_of(s);
    default: return 1;
  }
}

/* How a step is cut. Every thread has a share of its own, whose rows follow one another: what it reads is then mostly
   what it wrote in the step before, and lies in its cache. A share is done in chunks, as many rows as the thread's strip
   holds: an even number, since depthwise kernels compute rows in pairs. */
typedef struct {
  int begin, end; /* rows, or blocks of channels */
} span;

static int chunk_length(const step *s, int share) { return s->rows ? smaller(s->rows, share) : share; }

/* Of a share; of the last shares some may be empty. */
static int chunks_of(const step *s, int threads) {
  const int share = divided_up(length_of(s), threads);
  return divided_up(share, chunk_length(s, share));
}

static span span_of(const step *s, int threads, int thread, int chunk) {
  const int length = length_of(s), share = divided_up(length, threads), most = chunk_length(s, share);
  const span all = {share * thread + most * chunk, smaller(share * (thread + 1), length)};
  return (span){all.begin, smaller(all.begin + most, all.end)};
}

/* By a thread, a chunk of its own or of another's share. */
static void run_chunk(const job *j, int thread, const step *s, int share, int chunk) {
  const span which = span_of(s, j->threads, share, chunk);
  const int begin = which.begin, end = which.end;
  if (begin >= end) return;
  switch (s->kind) {
    case STEM: {
      const map out = map_of(j, s->out);
      for (int y = begin; y < end; y++) stem_row(j, thread, y, cursor_at(out, s->out, y));
      clear_border(s, out, begin, end);
      break;
    }
    case STEM_UNIT: run_stem_unit(j, thread, s, begin, end); break;
    case UNIT: run_unit(j, thread, s, begin, end); break;
    case DEPTHWISE:
      j->k->depthwise[s->stride - 1](map_of(j, s->in), s->depthwise, begin, end, map_of(j, s->out), s->out->width,
                                     s->out->height);
      break;
    case POINTWISE: {
      const map in = map_of(j, s->in), out = map_of(j, s->out);
      clear_border(s, out, begin, end);
      multiply(j, thread, s->panels, s->num_panels, pixel_at(in, begin, 0), (end - begin) * s->out->width,
               cursor_at(out, s->out, begin));
      break;
    }
    case PANELS: {
      const map in = map_of(j, s->in), out = map_of(j, s->out);
      if (begin == 0) clear_border(s, out, 0, s->out->height);
      for (int i = 0, skipped = 0; i < s->num_panels; skipped += s->panels[i++].blocks) {
        const panel *p = &s->panels[i];
        const int from = begin > skipped ? begin - skipped : 0;
        const int to = end - skipped < p->blocks ? end - skipped : p->blocks;
        cursor to_panel = cursor_at(out, s->out, 0);
        to_panel.at += p->channel;
        if (from < to)
          j->k->pointwise[p->shape](in.data, s->in->height * s->in->width, p, from, to, to_panel,
                                    thread_block(j, thread) + SCRATCH_AT);
      }
      break;
    }
    case SUM: sum_map(j, s->in, begin, end); break;
#if HAS_ATTENTION
    case AVERAGE: find_gates(j, s); break;
    case GATE: apply_gates(j, s, begin, end); break;
#endif
#if HAS_FEATURES
    case FEATURES: give_map(j, s, begin, end); break;
#endif
    case POOL: pool(j, s); break;
#if NUM_CLASSES
    case CLASSIFY: classify(j, thread, s, begin, end); break;
#endif
    default: break;
  }
}
