/* ==== Several threads =================================================================================== */

/* The chunks of all steps stand in one row, and every thread takes the next that may begin: that is when all chunks of
   the steps before are done. Nobody waits for a thread that has no chunk, so with fewer cores than threads the others
   simply do more. `ticket` holds the run's number in its upper half and the next chunk in its lower one; a thread that
   wakes up late cannot take one of a run that is over. */

#ifdef PREFIX_UPPER_THREADS
#ifdef __wasm__
enum { SPINS = 1 << 16, YIELDS = 0 }; /* some hundred microseconds: a browser wakes a thread in forty */
#else
enum { SPINS = 64, YIELDS = 256 }; /* a few microseconds, then some hundred */
#endif

#ifdef __wasm__ /* a page starts its threads; they sleep on `done` */
static void give_way(void) {}
#elif defined(_WIN32)
typedef CRITICAL_SECTION mutex;
typedef CONDITION_VARIABLE condition;
typedef HANDLE thread_handle;
#define THREAD_RESULT DWORD WINAPI
static void mutex_init(mutex *m) { InitializeCriticalSection(m); }
static void mutex_lock(mutex *m) { EnterCriticalSection(m); }
static void mutex_unlock(mutex *m) { LeaveCriticalSection(m); }
static void mutex_destroy(mutex *m) { DeleteCriticalSection(m); }
static void condition_init(condition *c) { InitializeConditionVariable(c); }
static void condition_wait(condition *c, mutex *m) { SleepConditionVariableCS(c, m, INFINITE); }
static void condition_wake(condition *c) { WakeAllConditionVariable(c); }
static void condition_destroy(condition *c) { (void)c; }
static int thread_start(thread_handle *t, LPTHREAD_START_ROUTINE run, void *argument) {
  *t = CreateThread(NULL, 0, run, argument, 0, NULL);
  return *t != NULL;
}
static void thread_join(thread_handle t) {
  WaitForSingleObject(t, INFINITE);
  CloseHandle(t);
}
static void give_way(void) { SwitchToThread(); }
#else
typedef pthread_mutex_t mutex;
typedef pthread_cond_t condition;
typedef pthread_t thread_handle;
#define THREAD_RESULT void *
static void mutex_init(mutex *m) { pthread_mutex_init(m, NULL); }
static void mutex_lock(mutex *m) { pthread_mutex_lock(m); }
static void mutex_unlock(mutex *m) { pthread_mutex_unlock(m); }
static void mutex_destroy(mutex *m) { pthread_mutex_destroy(m); }
static void condition_init(condition *c) { pthread_cond_init(c, NULL); }
static void condition_wait(condition *c, mutex *m) { pthread_cond_wait(c, m); }
static void condition_wake(condition *c) { pthread_cond_broadcast(c); }
static void condition_destroy(condition *c) { pthread_cond_destroy(c); }
static int thread_start(thread_handle *t, void *(*run)(void *), void *argument) {
  return pthread_create(t, NULL, run, argument) == 0;
}
static void thread_join(thread_handle t) { pthread_join(t, NULL); }
static void give_way(void) { sched_yield(); }
#endif

static inline void pause_briefly(void) {
#if HAS_X86_KERNELS
  _mm_pause();
#elif HAS_ARM_KERNELS
  __asm__ volatile("yield");
#endif
}

struct PREFIX_threads {
  job now;
  int num_threads, started;
  int starts[NUM_STEPS + 1]; /* the first chunk of every step, and how many there are in all */
  _Atomic uint64_t ticket;
  atomic_int done, sleepers, stop;
#ifndef __wasm__
  mutex lock;
  condition progress;
  thread_handle handles[PREFIX_UPPER_MAX_THREADS];
  struct member {
    struct PREFIX_threads *team;
    int index;
  } members[PREFIX_UPPER_MAX_THREADS];
#endif
};

typedef struct PREFIX_threads team;

/* Whether the ticket or the number of finished chunks is another, or all is over. */
static int has_changed(team *t, uint64_t ticket, int done) {
  return atomic_load(&t->ticket) != ticket || atomic_load(&t->done) != done || atomic_load(&t->stop);
}

#ifdef __wasm__
/* Who falls asleep between the two changes that begin a run wakes up with its first step's end. */
static void sleep_until_change(team *t, uint64_t ticket, int done) {
  atomic_fetch_add(&t->sleepers, 1);
  if (!has_changed(t, ticket, done)) __builtin_wasm_memory_atomic_wait32((int *)&t->done, done, -1);
  atomic_fetch_sub(&t->sleepers, 1);
}

static void wake(team *t) {
  if (atomic_load(&t->sleepers)) __builtin_wasm_memory_atomic_notify((int *)&t->done, PREFIX_UPPER_MAX_THREADS);
}
#else
static void sleep_until_change(team *t, uint64_t ticket, int done) {
  mutex_lock(&t->lock);
  atomic_fetch_add(&t->sleepers, 1);
  while (!has_changed(t, ticket, done)) condition_wait(&t->progress, &t->lock);
  atomic_fetch_sub(&t->sleepers, 1);
  mutex_unlock(&t->lock);
}

static void wake(team *t) {
  if (atomic_load(&t->sleepers) == 0) return;
  mutex_lock(&t->lock);
  condition_wake(&t->progress);
  mutex_unlock(&t->lock);
}
#endif

static void wait_for_change(team *t, uint64_t ticket, int done) {
  for (int i = 0; i < SPINS + YIELDS; i++) {
    if (has_changed(t, ticket, done)) return;
    if (i < SPINS) pause_briefly();
    else give_way();
  }
  sleep_until_change(t, ticket, done);
}

/* Take chunks until the run is over; the caller stays to its end, the others until they are stopped. */
static void work(team *t, int thread) {
  const int total = t->starts[NUM_STEPS];
  int s = 0;
  for (;;) {
    uint64_t ticket = atomic_load(&t->ticket);
    const int done = atomic_load(&t->done), chunk = (int)(ticket & 0xFFFFFFFF);
    if (atomic_load(&t->stop)) return;
    if (thread == 0 && done == total) return;
    if (s >= NUM_STEPS || chunk < t->starts[s]) s = 0;
    while (s < NUM_STEPS && chunk >= t->starts[s + 1]) s++;
    if (s == NUM_STEPS || done < t->starts[s]) {
      wait_for_change(t, ticket, done);
      continue;
    }
    if (!atomic_compare_exchange_weak(&t->ticket, &ticket, ticket + 1)) continue;
    run_chunk(&t->now, thread, &steps[s], chunk - t->starts[s], t->starts[s + 1] - t->starts[s]);
    if (atomic_fetch_add(&t->done, 1) + 1 == t->starts[s + 1]) wake(t);
  }
}

/* So many threads, of which none works yet. */
static void form_team(team *t, int num_threads) {
  t->num_threads = num_threads;
  for (int i = 0; i < NUM_STEPS; i++) t->starts[i + 1] = t->starts[i] + chunks_of(&steps[i], num_threads);
  atomic_store(&t->done, t->starts[NUM_STEPS]);
  atomic_store(&t->ticket, (uint64_t)t->starts[NUM_STEPS]);
}

static void run_team(team *t, const job *j) {
  begin_run(j);
  t->now = *j;
  const uint64_t run = (atomic_load(&t->ticket) >> 32) + 1;
  atomic_store(&t->done, 0);
  atomic_store(&t->ticket, run << 32);
  wake(t);
  work(t, 0);
}
#endif

#if defined(PREFIX_UPPER_THREADS) && !defined(__wasm__)
static THREAD_RESULT helper(void *argument) {
  const struct member *m = (const struct member *)argument;
  work(m->team, m->index);
  return 0;
}

void PREFIX_threads_stop(PREFIX_threads *t) {
  if (t == NULL) return;
  mutex_lock(&t->lock);
  atomic_store(&t->stop, 1);
  condition_wake(&t->progress);
  mutex_unlock(&t->lock);
  for (int i = 1; i < t->started; i++) thread_join(t->handles[i]);
  condition_destroy(&t->progress);
  mutex_destroy(&t->lock);
  free(t);
}

PREFIX_threads *PREFIX_threads_start(int num_threads) {
  if (num_threads < 1 || num_threads > PREFIX_UPPER_MAX_THREADS) return NULL;
  team *t = (team *)calloc(1, sizeof *t);
  if (t == NULL) return NULL;
  form_team(t, num_threads);
  mutex_init(&t->lock);
  condition_init(&t->progress);
  t->started = 1;
  for (int i = 1; i < num_threads; i++, t->started++) {
    t->members[i].team = t;
    t->members[i].index = i;
    if (!thread_start(&t->handles[i], helper, &t->members[i])) {
      PREFIX_threads_stop(t);
      return NULL;
    }
  }
  return t;
}
#else
PREFIX_threads *PREFIX_threads_start(int num_threads) {
  (void)num_threads;
  return NULL;
}
void PREFIX_threads_stop(PREFIX_threads *threads) { (void)threads; }
#endif

/* ---- the caller's threads ---- */

typedef struct {
  const job *now;
  const step *what;
  int chunks;
  atomic_int next;
} shared_step;

static void run_share(void *context, int thread) {
  shared_step *s = (shared_step *)context;
  for (int chunk; (chunk = atomic_fetch_add(&s->next, 1)) < s->chunks;)
    run_chunk(s->now, thread, s->what, chunk, s->chunks);
}

static void run_with(const job *j, PREFIX_parallel_for parallel_for, void *pool) {
  begin_run(j);
  for (int i = 0; i < NUM_STEPS; i++) {
    shared_step s = {j, &steps[i], chunks_of(&steps[i], j->threads), 0};
    if (s.chunks == 1) run_share(&s, 0);
    else parallel_for(pool, j->threads, run_share, &s);
  }
}
