/* A network for a page: what worker.js calls, around the file that the C backend generates. Compiled without a C
   library, with a memory that comes from outside and may be shared by several instances, a thread each. */
#include NETWORK_FILE

#define EXPORT(name) __attribute__((export_name(name)))
#define CALL(name) JOINED(NETWORK_PREFIX, name)
#define JOINED(prefix, name) JOINED_NOW(prefix, name)
#define JOINED_NOW(prefix, name) prefix##_##name
enum { SPINS = 20000, MOST_TASKS = 1 << 8 }; /* some ten microseconds; tasks and threads of a generation */

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

/* `ticket` holds a generation and how many of its tasks nobody has taken; `finished` counts what is done. Who finds no
   task spins for a moment, then sleeps; a thread that comes too late finds its task done by another. */
static _Atomic int32_t ticket, finished, generation;
static _Atomic int32_t team; /* threads of the run that is going on, or was the last */
static int32_t num_tasks;
static void (*task_now)(void *context, int index);
static void *context_now;

static void wait_while(_Atomic int32_t *place, int32_t value) {
  for (int i = 0; i < SPINS; i++)
    if (atomic_load_explicit(place, memory_order_acquire) != value) return;
  while (atomic_load_explicit(place, memory_order_acquire) == value)
    __builtin_wasm_memory_atomic_wait32((int32_t *)place, value, -1);
}

static void wake(_Atomic int32_t *place) { __builtin_wasm_memory_atomic_notify((int32_t *)place, MOST_TASKS); }

static void take_tasks(int32_t now) {
  for (;;) {
    int32_t left = atomic_load(&ticket);
    if (left / MOST_TASKS != now || left % MOST_TASKS == 0) return;
    if (!atomic_compare_exchange_weak(&ticket, &left, left - 1)) continue;
    const int32_t all = num_tasks; /* while a task is not finished, the generation is not over */
    task_now(context_now, left % MOST_TASKS - 1);
    if (atomic_fetch_add(&finished, 1) + 1 == all) wake(&finished);
  }
}

static void parallel_for(void *pool, int count, void (*task)(void *, int), void *context) {
  (void)pool;
  const int32_t now = (atomic_load(&generation) + 1) & 0x3FFFFF;
  num_tasks = count;
  task_now = task;
  context_now = context;
  atomic_store(&finished, 0);
  atomic_store(&ticket, now * MOST_TASKS + count);
  atomic_store(&generation, now);
  wake(&generation);
  take_tasks(now);
  for (int32_t done; (done = atomic_load(&finished)) < count;) wait_while(&finished, done);
}

/* What every thread but the first does, for ever; those beyond the team sleep. */
EXPORT("help") void help(int index) {
  for (int32_t seen = 0;;) {
    const int32_t now = atomic_load(&team);
    if (index >= now) {
      wait_while(&team, now);
      continue;
    }
    wait_while(&generation, seen);
    seen = atomic_load(&generation);
    if (index < atomic_load(&team)) take_tasks(seen);
  }
}

EXPORT("run") int run(int threads) {
  if (atomic_exchange(&team, threads) != threads) wake(&team);
  if (threads == 1) return CALL(run)(pixels_at(), logits_at(), workspace_at());
  return CALL(run_parallel)(pixels_at(), logits_at(), workspace_at(), CALL(workspace_for)(threads), threads, parallel_for,
                            NULL);
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
