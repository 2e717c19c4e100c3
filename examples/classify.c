/* Classify a photo, PPM (P6), with a network that `mobileone quantize --format c` wrote:
 *
 *   gcc -O2 examples/classify.c out/s0.c -o out/classify && out/classify photo.ppm
 *
 * Own programs include the header that lies beside the network; these are the functions of it that are used here. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

size_t mobileone_net_workspace(void);
int mobileone_net_height(void), mobileone_net_width(void), mobileone_net_num_outputs(void);
int mobileone_net_run(const uint8_t *pixels, float *logits, void *workspace);
const char *mobileone_net_class_name(int index), *mobileone_net_error_text(int error);

/* The centre of a photo in the network's size: of each pixel the mean of what lies under it. Training and evaluation
   resize with a filter that is a little softer, which changes few answers. */
static void fit(const uint8_t *photo, int width, int height, uint8_t *pixels, int out_width, int out_height) {
  const double side = 0.875 * (width < height ? width : height); /* as the header says: 224 of 256 */
  for (int y = 0; y < out_height; y++)
    for (int x = 0; x < out_width; x++) {
      const int top = (int)((height - side) / 2 + side * y / out_height), left = (int)((width - side) / 2 + side * x / out_width);
      int bottom = (int)((height - side) / 2 + side * (y + 1) / out_height), right = (int)((width - side) / 2 + side * (x + 1) / out_width);
      bottom += bottom == top, right += right == left;
      for (int c = 0; c < 3; c++) {
        long sum = 0;
        for (int i = top; i < bottom; i++)
          for (int k = left; k < right; k++) sum += photo[((size_t)i * width + k) * 3 + c];
        pixels[(y * out_width + x) * 3 + c] = (uint8_t)(sum / ((long)(bottom - top) * (right - left)));
      }
    }
}

int main(int argc, char **argv) {
  int width, height, best = 0;
  FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
  if (!file || fscanf(file, "P6 %d %d 255%*1[ \n]", &width, &height) != 2 || width < 1 || height < 1)
    return fprintf(stderr, "usage: classify PHOTO.ppm (P6, 8 bits, no comments)\n"), 2;
  const int w = mobileone_net_width(), h = mobileone_net_height(), n = mobileone_net_num_outputs();
  uint8_t *photo = malloc((size_t)width * height * 3), *pixels = malloc((size_t)w * h * 3);
  float *logits = malloc(n * sizeof *logits);
  void *workspace = aligned_alloc(64, mobileone_net_workspace());
  if (!photo || !pixels || !logits || !workspace || fread(photo, 3, (size_t)width * height, file) != (size_t)width * height)
    return fprintf(stderr, "classify: %s is cut off, or memory is short\n", argv[1]), 1;
  fit(photo, width, height, pixels, w, h);
  const int error = mobileone_net_run(pixels, logits, workspace);
  if (error) return fprintf(stderr, "classify: %s\n", mobileone_net_error_text(error)), 1;
  for (int i = 1; i < n; i++) best = logits[i] > logits[best] ? i : best;
  const char *name = mobileone_net_class_name(best);
  printf("%d %s %.3f\n", best, name ? name : "", logits[best]);
  return 0;
}
