/* A network for a page: what worker.js calls, around the file that the C backend generates. Compiled without a C
   library, with a memory that comes from outside and may be shared by several instances, a thread each. */
#include NETWORK_FILE

#define EXPORT(name) __attribute__((export_name(name)))
#define CALL(name) JOINED(NETWORK_PREFIX, name)
#define JOINED(prefix, name) JOINED_NOW(prefix, name)
#define JOINED_NOW(prefix, name) prefix##_##name

/* Only self-tests allocate; a page proves the network itself. */
void *malloc(size_t size) {
  (void)size;
  return NULL;
}
void free(void *block) { (void)block; }
void *memset(void *to, int value, size_t size) {
  __asm__ volatile("local.get %0\n\tlocal.get %1\n\tlocal.get %2\n\tmemory.fill 0" : : "r"(to), "r"(value), "r"(size) : "memory");
  return to;
}
void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  __asm__ volatile("local.get %0\n\tlocal.get %1\n\tlocal.get %2\n\tmemory.copy 0, 0" : : "r"(to), "r"(from), "r"(size) : "memory");
  return to;
}
int strcmp(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return (unsigned char)*a - (unsigned char)*b;
}

/* ---- where everything lies, behind the constants ---- */

extern uint8_t __heap_base;

static uint8_t *lines_behind(const uint8_t *place, size_t bytes) {
  return (uint8_t *)(((uintptr_t)place + bytes + 63) & ~(uintptr_t)63);
}

EXPORT("pixels") uint8_t *pixels_at(void) { return lines_behind(&__heap_base, 0); }
EXPORT("logits") float *logits_at(void) {
  return (float *)(void *)lines_behind(pixels_at(), (size_t)CALL(height)() * CALL(width)() * CALL(channels)());
}
EXPORT("map") float *map_at(void) {
  return (float *)(void *)lines_behind((const uint8_t *)logits_at(), sizeof(float) * (size_t)CALL(num_outputs)());
}
static uint8_t *workspace_at(void) {
  return lines_behind((const uint8_t *)map_at(), sizeof(float) * (size_t)(CALL(map_height)() * CALL(map_width)()));
}
/* The end of all, with so many threads: where their stacks may begin. */
EXPORT("end") uint8_t *end_of(int threads) { return lines_behind(workspace_at(), CALL(workspace_for)(threads)); }
EXPORT("outputs") int outputs(void) { return CALL(num_outputs)(); }
EXPORT("map_height") int map_height(void) { return CALL(map_height)(); }
EXPORT("map_width") int map_width(void) { return CALL(map_width)(); }

/* ---- threads ---- */

/* The page's workers take part in the engine's team, as many as it has; the others sleep. */
static team workers;
static _Atomic int32_t members, inside; /* threads that may join the team; helpers that have */

/* What every thread but the first does, for ever. */
EXPORT("help") void help(int index) {
  for (;;) {
    const int32_t now = atomic_load(&members);
    if (index >= now) {
      __builtin_wasm_memory_atomic_wait32((int32_t *)&members, now, -1);
      continue;
    }
    atomic_fetch_add(&inside, 1);
    if (index < atomic_load(&members)) work(&workers, index);
    atomic_fetch_sub(&inside, 1);
  }
}

/* A team of another size: the old one leaves first. */
static void form(int threads) {
  atomic_store(&members, 0);
  atomic_store(&workers.stop, 1);
  while (atomic_load(&inside)) wake(&workers); /* again and again: one may have found no stop and not sleep yet */
  form_team(&workers, threads);
  atomic_store(&workers.stop, 0);
  atomic_store(&members, threads);
  __builtin_wasm_memory_atomic_notify((int32_t *)&members, threads);
}

EXPORT("run") int run(int threads) {
  if (threads == 1) return CALL(run)(pixels_at(), logits_at(), workspace_at());
  if (threads != workers.run.threads) form(threads);
  return CALL(run_parallel)(pixels_at(), logits_at(), workspace_at(), CALL(workspace_for)(threads), threads, NULL, &workers);
}

/* ---- kernels, once one has run ---- */

/* Products of 16 bits, which need no proof. */
EXPORT("use_exact") void use_exact(void) {
  for (int i = 0; i < NUM_KERNELS; i++)
    if (strcmp(all_kernels[i]->name, "simd128") == 0) atomic_store(&chosen, i);
}

/* The self-test again, between runs: the browser may have compiled the module anew, and relaxed instructions may then
   round otherwise. Kernels that fail it are not used again. */
EXPORT("check_kernels") void check_kernels(void) {
  const int now = atomic_load(&chosen);
  if (now >= 0 && !is_exact(all_kernels[now], workspace_at(), logits_at())) use_exact();
}

EXPORT("kernels") const char *kernels_now(void) { return CALL(chosen_kernels)(); }

/* After a run: where a class is seen, at `map`. */
EXPORT("class_map") int class_map(int index) { return CALL(class_map)(workspace_at(), index, map_at()); }
