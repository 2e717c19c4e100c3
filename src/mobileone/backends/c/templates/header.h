/* $title
 *
 * Input    uint8 pixels, $height × $width × $channels (rows, columns, channels), $order, nothing between rows.
 *          $preprocessing
 *          Normalisation is inside.
 * Output   float32, $num_outputs $output_kind.$maps
 * Memory   $weight_bytes bytes of constants; a workspace of ${prefix}_workspace() bytes a call at a time
 *          ($workspace_bytes, and $thread_bytes for every further thread).
 *          In WebAssembly each thread takes $more_in_wasm more.
 *
 * Every call may run at the same time as any other with a workspace of its own. Nothing is allocated but by
 * ${prefix}_threads_start, ${prefix}_use_kernels and ${prefix}_self_test.
 *
 * The code is under mobileone's licence (MIT), the weights under $weights_licence.
 */
#ifndef ${upper}_H
#define ${upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Define it, as `static` or as an attribute of visibility, before both files to change who sees these. */
#ifndef ${upper}_API
#define ${upper}_API $visibility
#endif

#define ${upper}_HEIGHT $height
#define ${upper}_WIDTH $width
#define ${upper}_CHANNELS $channels
#define ${upper}_NUM_OUTPUTS $num_outputs
#define ${upper}_NUM_FEATURES $num_features
#define ${upper}_MAP_HEIGHT $map_height
#define ${upper}_MAP_WIDTH $map_width
#define ${upper}_MAX_THREADS 64

enum ${prefix}_error {
  ${upper}_OK = 0,
  ${upper}_NULL,
  ${upper}_MISALIGNED,
  ${upper}_TOO_SMALL,
  ${upper}_BAD_THREADS,
  ${upper}_NO_THREADS,
  ${upper}_NO_KERNELS,
  ${upper}_UNSUPPORTED,
  ${upper}_INEXACT,
  ${upper}_NO_MEMORY,
  ${upper}_NO_CLASS,
  ${upper}_NOT_RUN
};

/* What an error means, in one line. */
${upper}_API const char *${prefix}_error_text(int error);

/* Bytes of workspace, which starts at a multiple of 64 and needs no initial values: of one thread, and of several
   (0 for a number that is not possible). */
${upper}_API size_t ${prefix}_workspace(void);
${upper}_API size_t ${prefix}_workspace_for(int num_threads);

/* Pixels to logits on the calling thread; 0, or an error. The first call chooses kernels: the best that the processor
   has, if they compute the integers that they should. */
${upper}_API int ${prefix}_run(const uint8_t *pixels, float *logits, void *workspace);

/* The same on several threads. `parallel_for` must call task(context, 0) to task(context, num_tasks - 1), at the same
   time or not, and return when all have; `pool` is handed to it. It is called once a run, or again where a task waited
   some microseconds for another that had no core. Without it `pool` is a team that was started below, or
   NULL to start one for this call alone, which costs some 0.1 ms. A team does one image at a time. */
typedef void (*${prefix}_parallel_for)(void *pool, int num_tasks, void (*task)(void *context, int index),
                                       void *context);
${upper}_API int ${prefix}_run_parallel(const uint8_t *pixels, float *logits, void *workspace, size_t workspace_bytes,
                                        int num_threads, ${prefix}_parallel_for parallel_for, void *pool);

/* A team of threads, the caller among them: compile with ${upper}_THREADS defined, else this gives NULL. */
typedef struct ${prefix}_threads ${prefix}_threads;
${upper}_API ${prefix}_threads *${prefix}_threads_start(int num_threads);
${upper}_API void ${prefix}_threads_stop(${prefix}_threads *threads);

/* After a run, from its workspace: the last feature map, float32, MAP_HEIGHT × MAP_WIDTH × NUM_FEATURES (rows, columns,
   channels). The network's output is computed from its averages. */
${upper}_API int ${prefix}_features(const void *workspace, float *features);

/* After a run, from its workspace: where in the image a class is seen, float32, MAP_HEIGHT × MAP_WIDTH. What a place adds
   to the class's logit: the average over all places, and the class's bias, are the logit, but for the rounding of the
   pooled features to a byte. It computes in the workspace, which stays good for other classes and for ${prefix}_features. */
${upper}_API int ${prefix}_class_map(void *workspace, int class_index, float *map);

/* What the macros above say. */
${upper}_API int ${prefix}_height(void);
${upper}_API int ${prefix}_width(void);
${upper}_API int ${prefix}_channels(void);
${upper}_API int ${prefix}_num_outputs(void);
${upper}_API int ${prefix}_num_features(void);
${upper}_API int ${prefix}_map_height(void);
${upper}_API int ${prefix}_map_width(void);

/* Logits of a run to an answer: a probability for each class, calibrated where `mobileone calibrate` was run on this file
   (${prefix}_is_calibrated), the likeliest class, and whether that is sure: SURE; UNLIKELY, its probability is below
   its threshold; NOVEL, the image is like none that the network was calibrated on. Without calibration every answer is
   sure. Of a network with several labels an image, those are given whose probability reaches ${prefix}_threshold. In
   float64, as in Python; 0, or an error. */
enum ${prefix}_doubt { ${upper}_SURE = 0, ${upper}_UNLIKELY, ${upper}_NOVEL };
${upper}_API int ${prefix}_decide(const float *logits, double *probabilities, int *likeliest, int *doubt);
${upper}_API int ${prefix}_is_calibrated(void);
${upper}_API double ${prefix}_threshold(int index);

/* A class's name, UTF-8; NULL where there is none. */
${upper}_API const char *${prefix}_class_name(int index);

/* Version of the generator, and which network this is. */
${upper}_API const char *${prefix}_version(void);

/* 0 if every set of kernels that this processor runs computes the integers that the generator computed. */
${upper}_API int ${prefix}_self_test(void);

/* Names of the kernels in this file, best first, NULL behind the last; those in use, NULL before the first run; and
   others to use, which must not change while a call runs. */
${upper}_API const char *${prefix}_kernels(int index);
${upper}_API const char *${prefix}_chosen_kernels(void);
${upper}_API int ${prefix}_use_kernels(const char *name);

#ifdef __cplusplus
}
#endif
#endif
