/* ==== Several threads =================================================================================== */

/* Every thread takes the chunks of its own share of a step, then what is left of the others'. The next step begins when
   all chunks are done. Nobody waits for a thread that has not begun a chunk, so with fewer cores than threads the others
   simply do more. Counters never go back, from one run to the next either: who looks too late finds nothing to take. */

typedef struct {
  atomic_uint value;
  uint8_t apart[60]; /* no two in one line of a cache */
} counter;

typedef struct {
  job now;
  int threads;
  unsigned first[NUM_STEPS + 1]; /* chunks of a share before each step, and in all */
  counter begun;                 /* chunks of a share in all runs before this one */
  counter done;                  /* chunks of all shares in all runs */
  counter taken[PREFIX_UPPER_MAX_THREADS]; /* chunks of each share in all runs */
} shared_run;

static void set_threads(shared_run *r, int threads) {
  r->threads = threads;
  for (int i = 0; i < NUM_STEPS; i++) r->first[i + 1] = r->first[i] + (unsigned)chunks_of(&steps[i], threads);
}

/* How many chunks of all shares are done when the run is over. */
static unsigned end_of_run(const shared_run *r, unsigned begun) {
  return (begun + r->first[NUM_STEPS]) * (unsigned)r->threads;
}

/* Runs a chunk of the step that is going on: 2 if that ended it, 1 if not, 0 if there is none to take. */
static int run_some(shared_run *r, int thread, unsigned begun, unsigned done) {
  const unsigned threads = (unsigned)r->threads, behind = done - begun * threads;
  int s = 0;
  while (s < NUM_STEPS && behind >= r->first[s + 1] * threads) s++;
  if (s == NUM_STEPS) return 0;
  const unsigned from = begun + r->first[s], chunks = r->first[s + 1] - r->first[s];
  for (unsigned i = 0, share = (unsigned)thread; i < threads; i++, share = share + 1 < threads ? share + 1 : 0) {
    unsigned taken = atomic_load(&r->taken[share].value);
    while (taken - from < chunks) {
      if (!atomic_compare_exchange_weak(&r->taken[share].value, &taken, taken + 1)) continue;
      run_chunk(&r->now, thread, &steps[s], (int)share, (int)(taken - from));
      return atomic_fetch_add(&r->done.value, 1) + 1 == (from + chunks) * threads ? 2 : 1;
    }
  }
  return 0;
}

static inline void pause_briefly(void) {
#if HAS_X86_KERNELS
  _mm_pause();
#elif HAS_ARM_KERNELS
  __asm__ volatile("yield");
#endif
}

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

struct PREFIX_threads {
  shared_run run;
  atomic_int sleepers, stop;
#ifndef __wasm__
  int started;
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

/* Whether chunks were finished, or another run began, or all is over. */
static int has_changed(team *t, unsigned begun, unsigned done) {
  return atomic_load(&t->run.done.value) != done || atomic_load(&t->run.begun.value) != begun || atomic_load(&t->stop);
}

#ifdef __wasm__
/* Who falls asleep just when a run begins wakes up with its first step's end. */
static void sleep_until_change(team *t, unsigned begun, unsigned done) {
  atomic_fetch_add(&t->sleepers, 1);
  if (!has_changed(t, begun, done)) __builtin_wasm_memory_atomic_wait32((int *)&t->run.done.value, (int)done, -1);
  atomic_fetch_sub(&t->sleepers, 1);
}

static void wake(team *t) {
  if (atomic_load(&t->sleepers)) __builtin_wasm_memory_atomic_notify((int *)&t->run.done.value, PREFIX_UPPER_MAX_THREADS);
}
#else
static void sleep_until_change(team *t, unsigned begun, unsigned done) {
  mutex_lock(&t->lock);
  atomic_fetch_add(&t->sleepers, 1);
  while (!has_changed(t, begun, done)) condition_wait(&t->progress, &t->lock);
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

static void wait_for_change(team *t, unsigned begun, unsigned done) {
  for (int i = 0; i < SPINS + YIELDS; i++) {
    if (has_changed(t, begun, done)) return;
    if (i < SPINS) pause_briefly();
    else give_way();
  }
  sleep_until_change(t, begun, done);
}

/* The caller stays to the run's end, the others until they are stopped. */
static void work(team *t, int thread) {
  while (!atomic_load(&t->stop)) {
    const unsigned begun = atomic_load(&t->run.begun.value), done = atomic_load(&t->run.done.value);
    if (thread == 0 && done == end_of_run(&t->run, begun)) return;
    const int ran = run_some(&t->run, thread, begun, done);
    if (ran == 2) wake(t);
    if (ran == 0) wait_for_change(t, begun, done);
  }
}

/* So many threads, of which none works yet; as after a run. */
static void form_team(team *t, int num_threads) {
  set_threads(&t->run, num_threads);
  for (int i = 0; i < num_threads; i++) atomic_store(&t->run.taken[i].value, 0);
  atomic_store(&t->run.done.value, 0);
  atomic_store(&t->run.begun.value, 0 - t->run.first[NUM_STEPS]);
}

static void run_team(team *t, const job *j) {
  begin_run(j);
  t->run.now = *j;
  atomic_fetch_add(&t->run.begun.value, t->run.first[NUM_STEPS]);
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

enum { PATIENCE = 1000 }; /* some ten microseconds */

typedef struct {
  shared_run run;
  atomic_int leaving;
} lent_run;

/* Threads that are lent must not wait for long, perhaps for one that has no core: who is tired goes, and so do the others
   behind the step, that all may be called again. */
static void run_share(void *context, int thread) {
  lent_run *lent = (lent_run *)context;
  for (int waited = 0; waited < PATIENCE; waited++, pause_briefly()) {
    const unsigned done = atomic_load(&lent->run.done.value);
    if (done == end_of_run(&lent->run, 0)) return;
    const int ran = run_some(&lent->run, thread, 0, done);
    if (ran) waited = 0;
    if (ran == 2 && atomic_load(&lent->leaving)) return;
  }
  atomic_store(&lent->leaving, 1);
}

static void run_with(const job *j, PREFIX_parallel_for parallel_for, void *pool) {
  lent_run lent;
  memset(&lent, 0, sizeof lent);
  lent.run.now = *j;
  set_threads(&lent.run, j->threads);
  begin_run(j);
  while (atomic_load(&lent.run.done.value) != end_of_run(&lent.run, 0)) {
    atomic_store(&lent.leaving, 0);
    parallel_for(pool, j->threads, run_share, &lent);
  }
}
