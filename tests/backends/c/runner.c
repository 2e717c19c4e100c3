/* Runs images from a file with every set of kernels that this machine has: on one thread, on a team of three, on three
   that are lent. runner IMAGES N > OUTPUTS; the names of the kernels, one a line, to stderr. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "net.h"

struct lent {
  void (*task)(void *context, int index);
  void *context;
  int index;
};

static void *do_task(void *argument) {
  const struct lent *l = argument;
  l->task(l->context, l->index);
  return NULL;
}

static void lend_threads(void *pool, int num_tasks, void (*task)(void *context, int index), void *context) {
  struct lent lent[3];
  pthread_t handles[3];
  (void)pool;
  for (int i = 0; i < num_tasks; i++) {
    lent[i] = (struct lent){task, context, i};
    if (pthread_create(&handles[i], NULL, do_task, &lent[i])) abort();
  }
  for (int i = 0; i < num_tasks; i++) pthread_join(handles[i], NULL);
}

static const struct {
  int threads;
  mobileone_net_parallel_for lend;
} ways[] = {{1, NULL}, {3, NULL}, {3, lend_threads}};

int main(int argc, char **argv) {
  enum { PIXELS = MOBILEONE_NET_HEIGHT * MOBILEONE_NET_WIDTH * MOBILEONE_NET_CHANNELS };
  if (argc != 3) return 2;
  const int count = atoi(argv[2]);
  const size_t bytes = mobileone_net_workspace_for(3);
  uint8_t *pixels = malloc((size_t)count * PIXELS);
  char *block = malloc(bytes + 64);
  FILE *file = fopen(argv[1], "rb");
  float logits[MOBILEONE_NET_NUM_OUTPUTS];
  if (!pixels || !block || !file || fread(pixels, PIXELS, (size_t)count, file) != (size_t)count) return 3;
  fclose(file);
  void *workspace = (void *)(((uintptr_t)block + 63) / 64 * 64);
  const char *name;
  for (int i = 0; (name = mobileone_net_kernels(i)) != NULL; i++) {
    const int error = mobileone_net_use_kernels(name);
    if (error == MOBILEONE_NET_UNSUPPORTED) continue;
    if (error) {
      fprintf(stderr, "%s: %s\n", name, mobileone_net_error_text(error));
      return 4;
    }
    fprintf(stderr, "%s\n", name);
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
      for (int n = 0; n < count; n++) {
        if (mobileone_net_run_parallel(pixels + (size_t)n * PIXELS, logits, workspace, bytes, ways[way].threads,
                                       ways[way].lend, NULL))
          return 5;
        fwrite(logits, sizeof logits, 1, stdout);
      }
  }
  free(pixels);
  free(block);
  return 0;
}
