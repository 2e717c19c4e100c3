/* ==== What a step is made of ============================================================================ */

typedef struct { /* Squeeze and excitation: gates from averages, in double precision. */
  const float *reduce, *reduce_bias; /* (channels, padded hidden), (padded hidden) */
  const float *expand, *expand_bias; /* (hidden, padded channels), (padded channels) */
  int32_t channels, hidden, padded_channels, padded_hidden;
  float step, scale; /* of the averages; from value times gate to the output */
  int32_t in_offset, out_offset;
} attention;

typedef struct { /* A feature map in the workspace. */
  uint32_t offset;
  int32_t height, width;
  int32_t pixel;  /* bytes from one pixel to the next: its channels, and zeros up to a multiple of 16 */
  int32_t border; /* zeros around it: 0 or 1 */
} layout;

enum kind {
  STEM,       /* first convolution */
  STEM_UNIT,  /* first convolution, then as UNIT, a few rows at a time: its map is never whole in memory */
  UNIT,       /* depthwise, then pointwise, a few rows at a time */
  DEPTHWISE,  /* depthwise alone, by channels */
  POINTWISE,  /* pointwise alone, by rows */
  PANELS,     /* pointwise alone, by output channels: late maps have few rows and many channels */
  SUM,        /* a map's sums, by channels */
  AVERAGE,    /* gates of an attention, from sums */
  GATE,       /* its products */
  FEATURES,   /* a map is an output */
  POOL,       /* average of the last map, from sums */
  CLASSIFY    /* linear layer */
};

typedef struct { /* What all threads do before any goes on. */
  enum kind kind;
  const layout *in, *out;
  const filters *depthwise;
  int32_t stride;
  const panel *panels; /* one, or two where the channels ask for two kernels */
  int32_t num_panels;
  const attention *attention;
  int32_t rows;   /* at a time, at most */
  int32_t clears; /* whether it writes the zeros around its map */
  const float *map_scale; /* of a map that is an output: what a step of each channel stands for, */
  int32_t map_channels;
  uint32_t map_at; /* and where it begins there */
} step;

typedef struct { /* What a thread keeps of the first convolution from one chunk to the next. */
  int32_t next; /* the row of outputs whose first row of inputs is there; -1 for none */
  int32_t slot; /* where that is: 0 or 2 */
} kept_rows;

