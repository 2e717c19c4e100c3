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

/* Zeros around rows y0 to y1 of a map. */
static void clear_border(map m, const layout *l, int y0, int y1) {
  if (!l->border) return;
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

/* What the first convolution reads for one row of outputs, pixel after pixel. Short runs are copied 16 bytes at a time;
   what is too much is overwritten by the next. */
static void gather_row(const job *j, int y, uint8_t *strip) {
  enum { RUN = STEM_KERNEL_W * IMAGE_CHANNELS, LINE = IMAGE_WIDTH * IMAGE_CHANNELS };
  const uint8_t *rows[STEM_KERNEL_H];
  for (int ky = 0; ky < STEM_KERNEL_H; ky++) {
    const int from = y * STEM_STRIDE_H - STEM_PADDING_H + ky;
    rows[ky] = from >= 0 && from < IMAGE_HEIGHT ? j->pixels + from * j->pitch : border_row;
  }
  int x = 0;
  while (x < STEM_WIDTH) {
    const int left = x * STEM_STRIDE_W - STEM_PADDING_W;
    if (RUN <= 16 && left >= 0 && left * IMAGE_CHANNELS + 16 <= LINE) {
      const int last = ((LINE - 16) / IMAGE_CHANNELS + STEM_PADDING_W) / STEM_STRIDE_W;
      for (; x <= last && x < STEM_WIDTH; x++)
        for (int ky = 0; ky < STEM_KERNEL_H; ky++)
          memcpy(strip + x * STEM_PITCH + ky * RUN, rows[ky] + (x * STEM_STRIDE_W - STEM_PADDING_W) * IMAGE_CHANNELS, 16);
      continue;
    }
    for (int ky = 0; ky < STEM_KERNEL_H; ky++)
      for (int kx = 0; kx < STEM_KERNEL_W; kx++) {
        const int inside = left + kx >= 0 && left + kx < IMAGE_WIDTH;
        memcpy(strip + x * STEM_PITCH + ky * RUN + kx * IMAGE_CHANNELS,
               inside ? rows[ky] + (left + kx) * IMAGE_CHANNELS : border_row, IMAGE_CHANNELS);
      }
    x++;
  }
}

static void stem_row(const job *j, int thread, const step *s, int y, cursor out) {
  uint8_t *strip = thread_block(j, thread) + STRIP_AT;
  gather_row(j, y, strip);
  multiply(j, thread, stem_panels, STEM_PANELS, strip, STEM_WIDTH, out);
  (void)s;
}

static void run_unit(const job *j, int thread, const step *s, map in, int y0, int y1) {
  uint8_t *strip = thread_block(j, thread) + STRIP_AT;
  const map out = map_of(j, s->out);
  const ptrdiff_t pitch = s->panels[0].pitch;
  const map rows = {strip, pitch * s->out->width, pitch};
  j->k->depthwise[s->stride - 1](in, s->depthwise, 0, s->depthwise->blocks, rows, s->out->width, y1 - y0);
  clear_border(out, s->out, y0, y1);
  multiply(j, thread, s->panels, s->num_panels, strip, (y1 - y0) * s->out->width, cursor_at(out, s->out, y0));
}

/* The rows of the first convolution that rows y0 to y1 behind it read lie in the thread's own block, zeros around
   them. The last one is the next chunk's first. */
static void run_stem_unit(const job *j, int thread, const step *s, int y0, int y1) {
  const layout *l = s->in;
  const map in = {thread_block(j, thread) + STEM_AT, (ptrdiff_t)(l->width + 2) * l->pixel, l->pixel};
  int32_t *next = (int32_t *)(void *)thread_block(j, thread);
  const int first = s->stride * y0 - 1, count = s->stride * (y1 - y0) + 3 - s->stride;
  const int kept = next[0] == y0 && y0 > 0 ? 1 : 0; /* as many as a stride of 2 shares */
  if (kept) memcpy(in.data, pixel_at(in, next[1] - 1, 0), (size_t)in.row);
  for (int i = kept; i < count; i++) {
    uint8_t *row = pixel_at(in, i, 0);
    if (first + i < 0 || first + i >= l->height) {
      memset(row, 0, (size_t)in.row);
      continue;
    }
    memset(row, 0, (size_t)in.pixel);
    memset(pixel_at(in, i, l->width + 1), 0, (size_t)in.pixel);
    const cursor out = {pixel_at(in, i, 1), l->pixel, 0, l->width, 2 * l->pixel};
    stem_row(j, thread, s, first + i, out);
  }
  next[0] = y1;
  next[1] = count;
  run_unit(j, thread, s, in, y0, y1);
}

/* ---- averages, gates, head ---- */

static void sum_map(const job *j, const layout *l, int32_t *sums) {
  const map m = map_of(j, l);
  memset(sums, 0, (size_t)l->pixel * sizeof *sums);
  for (int y = 0; y < l->height; y++)
    j->k->add_pixels(pixel_at(m, y + l->border, l->border), m.pixel, l->width, l->pixel, sums);
}

#if HAS_ATTENTION
/* e^x to 1e-15, without a library. */
static double exponential(double x) {
  x = x < -700 ? -700 : x > 700 ? 700 : x;
  const int power = (int)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
  const double rest = x - power * 0.693147180369123816490 - power * 1.90821492927058770002e-10;
  double sum = 1;
  for (int i = 14; i > 0; i--) sum = 1 + sum * rest / i;
  const uint64_t bits = (uint64_t)(power + 1023) << 52;
  double scale;
  memcpy(&scale, &bits, sizeof scale);
  return sum * scale;
}

static void find_gates(const job *j, const step *s) {
  const attention *a = s->attention;
  int32_t *sums = (int32_t *)(void *)(j->workspace + SUMS_AT);
  float *gates = (float *)(void *)(j->workspace + GATES_AT);
  double *hidden = (double *)(void *)(j->workspace + HIDDEN_AT), *outer = hidden + a->hidden;
  const int count = s->in->height * s->in->width;
  sum_map(j, s->in, sums);
  for (int h = 0; h < a->hidden; h++) hidden[h] = a->reduce_bias[h];
  for (int c = 0; c < a->channels; c++) {
    single mean = (float)(sums[c] - a->in_offset * count) / (float)count;
    single average = (float)rounded(mean, -255, 255) * a->step;
    const double value = average;
    for (int h = 0; h < a->hidden; h++) hidden[h] += value * a->reduce[c * a->hidden + h];
  }
  for (int c = 0; c < a->channels; c++) outer[c] = a->expand_bias[c];
  for (int h = 0; h < a->hidden; h++)
    if (hidden[h] > 0)
      for (int c = 0; c < a->channels; c++) outer[c] += hidden[h] * a->expand[h * a->channels + c];
  for (int c = 0; c < a->channels; c++) {
    const int gate = (int)(256 / (1 + exponential(-outer[c])) + 0.5);
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

static void pool(const job *j, const step *s) {
  int32_t *sums = (int32_t *)(void *)(j->workspace + SUMS_AT);
  const float count = (float)(s->in->height * s->in->width);
  sum_map(j, s->in, sums);
#if NUM_CLASSES
  uint8_t *features = j->workspace + FEATURES_AT;
  memset(features, 0, FEATURE_BYTES);
#endif
  for (int c = 0; c < NUM_FEATURES; c++) {
    single mean = (float)sums[c] / count;
    single average = mean * LAST_STEP;
#if NUM_CLASSES
    single steps = average / POOLED_STEP;
    features[c] = (uint8_t)rounded(steps, 0, 255);
#else
    j->logits[c] = average;
#endif
  }
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

/* ---- steps, in chunks ---- */

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
    case GATE: return s->in->height;
    case DEPTHWISE: return s->depthwise->blocks;
    case PANELS:
    case CLASSIFY: return blocks_of(s);
    default: return 1;
  }
}

/* Into how many chunks a step is cut: equal ones for several threads. */
static int chunks_of(const step *s, int threads) {
  const int length = length_of(s), rows = s->rows ? s->rows : length;
  int chunks = (length + rows - 1) / rows;
  if (threads > 1) chunks = (chunks + threads - 1) / threads * threads;
  return chunks < length ? chunks : length;
}

static void run_chunk(const job *j, int thread, const step *s, int chunk, int chunks) {
  const int length = length_of(s);
  const int whole = j->threads == 1 && s->rows; /* the last chunk is the one that is short */
  const int begin = whole ? chunk * s->rows : (int)((int64_t)length * chunk / chunks);
  int end = whole ? begin + s->rows : (int)((int64_t)length * (chunk + 1) / chunks);
  end = end < length ? end : length;
  switch (s->kind) {
    case STEM: {
      const map out = map_of(j, s->out);
      for (int y = begin; y < end; y++) stem_row(j, thread, s, y, cursor_at(out, s->out, y));
      clear_border(out, s->out, begin, end);
      break;
    }
    case STEM_UNIT: run_stem_unit(j, thread, s, begin, end); break;
    case UNIT: {
      map in = map_of(j, s->in);
      in.data = pixel_at(in, s->stride * begin, 0);
      run_unit(j, thread, s, in, begin, end);
      break;
    }
    case DEPTHWISE:
      j->k->depthwise[s->stride - 1](map_of(j, s->in), s->depthwise, begin, end, map_of(j, s->out), s->out->width,
                                     s->out->height);
      break;
    case POINTWISE: {
      const map in = map_of(j, s->in), out = map_of(j, s->out);
      clear_border(out, s->out, begin, end);
      multiply(j, thread, s->panels, s->num_panels, pixel_at(in, begin, 0), (end - begin) * s->out->width,
               cursor_at(out, s->out, begin));
      break;
    }
    case PANELS: {
      const map in = map_of(j, s->in), out = map_of(j, s->out);
      if (chunk == 0) clear_border(out, s->out, 0, s->out->height);
      for (int i = 0, skipped = 0; i < s->num_panels; skipped += s->panels[i++].blocks) {
        const panel *p = &s->panels[i];
        const int from = begin > skipped ? begin - skipped : 0;
        const int to = end - skipped < p->blocks ? end - skipped : p->blocks;
        cursor c = cursor_at(out, s->out, 0);
        c.at += p->channel;
        if (from < to)
          j->k->pointwise[p->shape](in.data, s->in->height * s->in->width, p, from, to, c,
                                    thread_block(j, thread) + SCRATCH_AT);
      }
      break;
    }
#if HAS_ATTENTION
    case AVERAGE: find_gates(j, s); break;
    case GATE: apply_gates(j, s, begin, end); break;
#endif
    case POOL: pool(j, s); break;
#if NUM_CLASSES
    case CLASSIFY: classify(j, thread, s, begin, end); break;
#endif
    default: break;
  }
}
