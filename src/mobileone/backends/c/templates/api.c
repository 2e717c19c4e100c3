/* ==== What net.h declares =============================================================================== */

#define NAME_OF(macro) #macro

const char *PREFIX_error_text(int error) {
  switch (error) {
    case PREFIX_UPPER_OK: return "no error";
    case PREFIX_UPPER_NULL: return "pixels, workspace and what is written to must not be null";
    case PREFIX_UPPER_MISALIGNED: return "the workspace must start at a multiple of 64 bytes";
    case PREFIX_UPPER_TOO_SMALL: return "the workspace is smaller than workspace_for(num_threads) says";
    case PREFIX_UPPER_BAD_THREADS: return "num_threads must be at least 1, at most MAX_THREADS, and the team's own";
    case PREFIX_UPPER_NO_THREADS: return "no threads: compile with " NAME_OF(PREFIX_UPPER_THREADS) " defined, or give a parallel_for";
    case PREFIX_UPPER_NO_KERNELS: return "no kernels of that name in this file";
    case PREFIX_UPPER_UNSUPPORTED: return "this processor does not have the instructions of these kernels";
    case PREFIX_UPPER_INEXACT: return "kernels computed wrong integers on this processor";
    case PREFIX_UPPER_NO_MEMORY: return "out of memory";
    case PREFIX_UPPER_NO_CLASS: return "there is no class of that index";
    case PREFIX_UPPER_NOT_RUN: return "nothing was run yet: maps are what a run leaves in its workspace";
    default: return "unknown error";
  }
}

const char *PREFIX_version(void) { return VERSION_TEXT; }
int PREFIX_height(void) { return IMAGE_HEIGHT; }
int PREFIX_width(void) { return IMAGE_WIDTH; }
int PREFIX_channels(void) { return IMAGE_CHANNELS; }
int PREFIX_num_outputs(void) { return PREFIX_UPPER_NUM_OUTPUTS; }
int PREFIX_num_features(void) { return NUM_FEATURES; }
int PREFIX_map_height(void) { return PREFIX_UPPER_MAP_HEIGHT; }
int PREFIX_map_width(void) { return PREFIX_UPPER_MAP_WIDTH; }

const char *PREFIX_class_name(int index) {
#if HAS_CLASS_NAMES
  return index >= 0 && index < NUM_CLASSES ? class_names[index] : NULL;
#else
  (void)index;
  return NULL;
#endif
}

size_t PREFIX_workspace_for(int num_threads) {
  if (num_threads < 1 || num_threads > PREFIX_UPPER_MAX_THREADS) return 0;
  return SHARED_BYTES + (size_t)num_threads * THREAD_BYTES;
}

size_t PREFIX_workspace(void) { return PREFIX_workspace_for(1); }

static int check(const void *pixels, const void *logits, const void *workspace) {
  if (pixels == NULL || logits == NULL || workspace == NULL) return PREFIX_UPPER_NULL;
  return (uintptr_t)workspace % 64 ? PREFIX_UPPER_MISALIGNED : PREFIX_UPPER_OK;
}

int PREFIX_run(const uint8_t *pixels, float *logits, void *workspace) {
  const int error = check(pixels, logits, workspace);
  if (error) return error;
  const kernels *k = choose(workspace, logits);
  const job j = {pixels, IMAGE_WIDTH * IMAGE_CHANNELS, (uint8_t *)workspace, logits, k, 1};
  run_alone(&j);
  return PREFIX_UPPER_OK;
}

int PREFIX_run_parallel(const uint8_t *pixels, float *logits, void *workspace, size_t workspace_bytes, int num_threads,
                        PREFIX_parallel_for parallel_for, void *pool) {
  const int error = check(pixels, logits, workspace);
  if (error) return error;
  if (num_threads < 1 || num_threads > PREFIX_UPPER_MAX_THREADS) return PREFIX_UPPER_BAD_THREADS;
  if (workspace_bytes < PREFIX_workspace_for(num_threads)) return PREFIX_UPPER_TOO_SMALL;
  const kernels *k = choose(workspace, logits);
  const job j = {pixels, IMAGE_WIDTH * IMAGE_CHANNELS, (uint8_t *)workspace, logits, k, num_threads};
  if (num_threads == 1) {
    run_alone(&j);
  } else if (parallel_for) {
    run_with(&j, parallel_for, pool);
  } else {
#ifdef PREFIX_UPPER_THREADS
    PREFIX_threads *team = pool ? (PREFIX_threads *)pool : PREFIX_threads_start(num_threads);
    if (team == NULL) return PREFIX_UPPER_NO_MEMORY;
    if (team->run.threads != num_threads) return PREFIX_UPPER_BAD_THREADS;
    run_team(team, &j);
    if (pool == NULL) PREFIX_threads_stop(team);
#else
    return PREFIX_UPPER_NO_THREADS;
#endif
  }
  return PREFIX_UPPER_OK;
}

/* ---- what a run leaves in its workspace ---- */

enum { POOL_STEP = NUM_STEPS - 1 - (NUM_CLASSES > 0) };

/* A pixel of the last map. */
static const uint8_t *last_pixel(const void *workspace, int y, int x) {
  const layout *l = steps[POOL_STEP].in;
  const ptrdiff_t width = l->width + 2 * l->border;
  return (const uint8_t *)workspace + l->offset + ((y + l->border) * width + x + l->border) * l->pixel;
}

int PREFIX_features(const void *workspace, float *features) {
  const int error = check(workspace, features, workspace);
  if (error) return error;
  if (atomic_load_explicit(&chosen, memory_order_relaxed) < 0) return PREFIX_UPPER_NOT_RUN;
  for (int y = 0; y < PREFIX_UPPER_MAP_HEIGHT; y++)
    for (int x = 0; x < PREFIX_UPPER_MAP_WIDTH; x++) {
      const uint8_t *pixel = last_pixel(workspace, y, x);
      for (int c = 0; c < NUM_FEATURES; c++) *features++ = (float)pixel[c] * feature_scale[c];
    }
  return PREFIX_UPPER_OK;
}

int PREFIX_class_map(void *workspace, int class_index, float *values) {
  const int error = check(workspace, values, workspace);
  if (error) return error;
  if (class_index < 0 || class_index >= NUM_CLASSES) return PREFIX_UPPER_NO_CLASS;
#if NUM_CLASSES
  const int now = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (now < 0) return PREFIX_UPPER_NOT_RUN;
  const panel *p = steps[NUM_STEPS - 1].panels;
  while (class_index >= p->channel + 16 * p->vectors * p->blocks) p++;
  const int block = (class_index - p->channel) / (16 * p->vectors);
  uint8_t *features = (uint8_t *)workspace + FEATURES_AT;
  uint8_t *scratch = (uint8_t *)workspace + SHARED_BYTES + SCRATCH_AT;
  int32_t *sums = (int32_t *)(void *)((uint8_t *)workspace + CLASS_SUMS_AT);
  const double unit = (double)classifier_scale[class_index] * LAST_STEP / POOLED_STEP;
  memset(features + NUM_FEATURES, 0, FEATURE_BYTES - NUM_FEATURES);
  for (int y = 0; y < PREFIX_UPPER_MAP_HEIGHT; y++)
    for (int x = 0; x < PREFIX_UPPER_MAP_WIDTH; x++) {
      memcpy(features, last_pixel(workspace, y, x), NUM_FEATURES);
      all_kernels[now]->classify(features, p, block, block + 1, sums, scratch);
      *values++ = (float)(sums[class_index] * unit);
    }
#endif
  return PREFIX_UPPER_OK;
}

const char *PREFIX_kernels(int index) { return index >= 0 && index < NUM_KERNELS ? all_kernels[index]->name : NULL; }

const char *PREFIX_chosen_kernels(void) {
  const int now = atomic_load_explicit(&chosen, memory_order_relaxed);
  return now < 0 ? NULL : all_kernels[now]->name;
}

/* A workspace of the heap's, for tests; the block to free is in *block. */
static void *own_workspace(void **block) {
  *block = malloc(PREFIX_workspace() + 64 + sizeof(float) * PREFIX_UPPER_NUM_OUTPUTS);
  return *block ? (void *)(((uintptr_t)*block + 63) / 64 * 64) : NULL;
}

static int test_kernels(const kernels *k) {
  void *block, *workspace = own_workspace(&block);
  if (workspace == NULL) return PREFIX_UPPER_NO_MEMORY;
  const int exact = is_exact(k, workspace, (float *)(void *)((uint8_t *)workspace + PREFIX_workspace()));
  free(block);
  return exact ? PREFIX_UPPER_OK : PREFIX_UPPER_INEXACT;
}

int PREFIX_use_kernels(const char *name) {
  if (name == NULL) return PREFIX_UPPER_NULL;
  for (int i = 0; i < NUM_KERNELS; i++)
    if (strcmp(all_kernels[i]->name, name) == 0) {
      const int error = all_kernels[i]->is_supported() ? test_kernels(all_kernels[i]) : PREFIX_UPPER_UNSUPPORTED;
      if (!error) atomic_store_explicit(&chosen, i, memory_order_relaxed);
      return error;
    }
  return PREFIX_UPPER_NO_KERNELS;
}

int PREFIX_self_test(void) {
  for (int i = 0; i < NUM_KERNELS; i++)
    if (all_kernels[i]->is_supported()) {
      const int error = test_kernels(all_kernels[i]);
      if (error) return error;
    }
  return PREFIX_UPPER_OK;
}
