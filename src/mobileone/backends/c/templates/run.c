/* ==== Running it ======================================================================================== */

enum { NUM_STEPS = sizeof steps / sizeof *steps };

static void begin_run(const job *j) {
  for (int thread = 0; thread < j->threads; thread++) {
    kept_rows *kept = (kept_rows *)(void *)thread_block(j, thread);
    kept->next = -1;
    kept->slot = 0;
    memset(thread_block(j, thread) + SCRATCH_AT + SINK_BYTES, 0, KEPT_BYTES);
  }
}

static void run_alone(const job *j) {
  begin_run(j);
  for (int i = 0; i < NUM_STEPS; i++) {
    const int chunks = chunks_of(&steps[i], 1);
    for (int chunk = 0; chunk < chunks; chunk++) run_chunk(j, 0, &steps[i], 0, chunk);
  }
}

/* ---- proof that kernels compute what they should ---- */

/* The integers that decide the output, of an image whose rows overlap in a few kilobytes of pseudo-random bytes; the
   generator computed what they must be. */
static int is_exact(const kernels *k, void *workspace, float *logits) {
  uint8_t *image = (uint8_t *)workspace + TEST_IMAGE_AT;
  uint32_t state = 1;
  for (int i = 0; i < TEST_IMAGE_BYTES; i++) {
    state = state * 1664525u + 1013904223u;
    image[i] = (uint8_t)(state >> 24);
  }
  const job j = {image, TEST_ROW_BYTES, workspace, logits, k, 1};
  run_alone(&j);
  uint32_t hash = 2166136261u;
  const int32_t *sums = (const int32_t *)(const void *)((const uint8_t *)workspace + SUMS_AT);
  for (int c = 0; c < NUM_FEATURES; c++) hash = (hash ^ (uint32_t)sums[c]) * 16777619u;
#if NUM_CLASSES
  sums = (const int32_t *)(const void *)((const uint8_t *)workspace + CLASS_SUMS_AT);
  for (int c = 0; c < NUM_CLASSES; c++) hash = (hash ^ (uint32_t)sums[c]) * 16777619u;
#endif
  return hash == TEST_HASH;
}

/* Best first; plain C runs everywhere. */
static const kernels *const all_kernels[] = {ALL_KERNELS};
enum { NUM_KERNELS = sizeof all_kernels / sizeof *all_kernels };
static atomic_int chosen = -1;

static const kernels *choose(void *workspace, float *logits) {
  int now = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (now < 0) {
    for (now = 0; now < NUM_KERNELS - 1; now++)
      if (all_kernels[now]->is_supported() && is_exact(all_kernels[now], workspace, logits)) break;
    atomic_store_explicit(&chosen, now, memory_order_relaxed);
  }
  return all_kernels[now];
}
