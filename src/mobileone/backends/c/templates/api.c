/* ==== What net.h declares =============================================================================== */

const char *PREFIX_error_text(int error) {
  switch (error) {
    case PREFIX_UPPER_OK: return "no error";
    case PREFIX_UPPER_NULL: return "pixels, logits and workspace must not be null";
    case PREFIX_UPPER_MISALIGNED: return "the workspace must start at a multiple of 64 bytes";
    case PREFIX_UPPER_TOO_SMALL: return "the workspace is smaller than workspace_for(num_threads) says";
    case PREFIX_UPPER_BAD_THREADS: return "num_threads must be at least 1, at most MAX_THREADS, and the team's own";
    case PREFIX_UPPER_NO_THREADS: return "no threads: compile with PREFIX_UPPER_THREADS defined, or give a parallel_for";
    case PREFIX_UPPER_NO_KERNELS: return "no kernels of that name in this file";
    case PREFIX_UPPER_UNSUPPORTED: return "this processor does not have the instructions of these kernels";
    case PREFIX_UPPER_INEXACT: return "kernels computed wrong integers on this processor";
    case PREFIX_UPPER_NO_MEMORY: return "out of memory";
    default: return "unknown error";
  }
}

const char *PREFIX_version(void) { return VERSION_TEXT; }
int PREFIX_height(void) { return IMAGE_HEIGHT; }
int PREFIX_width(void) { return IMAGE_WIDTH; }
int PREFIX_channels(void) { return IMAGE_CHANNELS; }
int PREFIX_num_outputs(void) { return PREFIX_UPPER_NUM_OUTPUTS; }

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
    if (team->num_threads != num_threads) return PREFIX_UPPER_BAD_THREADS;
    run_team(team, &j);
    if (pool == NULL) PREFIX_threads_stop(team);
#else
    return PREFIX_UPPER_NO_THREADS;
#endif
  }
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
