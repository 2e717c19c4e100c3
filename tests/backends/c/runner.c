/* Runs images from a file with every set of kernels that this machine has, on one thread and on three.
   runner IMAGES N > OUTPUTS; the names of the kernels, one a line, to stderr. */
#include <stdio.h>
#include <stdlib.h>

#include "net.h"

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
    for (int threads = 1; threads <= 3; threads += 2)
      for (int n = 0; n < count; n++) {
        if (mobileone_net_run_parallel(pixels + (size_t)n * PIXELS, logits, workspace, bytes, threads, NULL, NULL))
          return 5;
        fwrite(logits, sizeof logits, 1, stdout);
      }
  }
  free(pixels);
  free(block);
  return 0;
}
