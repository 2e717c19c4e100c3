/* ---- pointwise convolution: eight output channels at a time, which lie behind one another ---- */

enum { V_PIXELS = 4 }; /* of a tile */
static int V_is_supported(void) { return 1; } /* else the module could not have been loaded */

typedef struct { /* Where the two slices of four lanes that hold them are, in bytes of weights and in lanes. */
  int weights[2], lane[2];
} V_eight;

/* Number `part` of a block: of two vectors the same lanes, of a single one neighbours; see packing.lane_channels. */
V_INLINE V_eight V_eight_of(int part, int vectors) {
  const int single = vectors == 1 ? 0 : 4; /* the first part that is of a single vector */
  if (part < single) return (V_eight){{16 * part, 64 + 16 * part}, {4 * part, 16 + 4 * part}};
  const int slice = 2 * (part - single), vector = vectors - 1;
  const int from = 64 * vector + 16 * slice, lane = 16 * vector + 4 * slice;
  return (V_eight){{from, from + 16}, {lane, lane + 4}};
}

/* Their weights in 16 bits: of every two input channels a vector of the first four, then one of the last. */
V_INLINE void V_widen_weights(const int8_t *weights, V_eight e, int groups, int step, V_weight *to) {
  ROLLED for (int k = 0; k < groups; k++, weights += step, to += 32)
    UNROLL for (int half = 0; half < 2; half++) {
      const V_twos w = V_split(weights + e.weights[half]);
      wasm_v128_store(to + 8 * half, w.first);
      wasm_v128_store(to + 16 + 8 * half, w.last);
    }
}

/* sums + the products of `count` groups of four input channels. */
V_INLINE void V_groups(V_ints sums[V_PIXELS][2], const V_pixel *pixels, const V_weight *weights, int count, int pitch) {
  UNROLL for (int k = 0; k < 2 * count; k++) {
    V_ints w[2];
    V_LOAD_AT(w[0], "v128.load", weights, 32 * k);
    V_LOAD_AT(w[1], "v128.load", weights, 32 * k + 16);
    UNROLL for (int p = 0; p < V_PIXELS; p++) {
      V_ints two;
      V_LOAD_AT(two, "v128.load32_splat", pixels, 2 * (p * pitch + 2 * k));
      UNROLL for (int half = 0; half < 2; half++) {
        sums[p][half] = V_add(sums[p][half], wasm_i32x4_dot_i16x8(two, w[half]));
        V_IN_PLACE(sums[p][half]);
      }
    }
  }
}

/* One tile: some pixels by eight channels, whose sums stay in registers over all input channels. */
V_INLINE cursor V_tile(const V_pixel *pixels, const V_weight *weights, const v128_t *start, const v128_t *scale,
                       int32_t offset, cursor out, int valid, uint8_t *sink, int pitch, int groups) {
  V_ints sums[V_PIXELS][2];
  UNROLL for (int half = 0; half < 2; half++)
    UNROLL for (int p = 0; p < V_PIXELS; p++) sums[p][half] = start[half];
  const int rest = groups <= 8 ? groups : groups % 4; /* a loop costs what two groups do */
  ROLLED for (int k = rest; k < groups; k += 4, pixels += 16, weights += 128) V_groups(sums, pixels, weights, 4, pitch);
  V_groups(sums, pixels, weights, rest, pitch);
  uint8_t *to[V_PIXELS];
  out = V_places(to, V_PIXELS, out, valid, sink);
  UNROLL for (int p = 0; p < V_PIXELS; p += 2) {
    const v128_t first = wasm_i16x8_narrow_i32x4(V_round(sums[p][0], scale[0], offset),
                                                 V_round(sums[p][1], scale[1], offset));
    const v128_t second = wasm_i16x8_narrow_i32x4(V_round(sums[p + 1][0], scale[0], offset),
                                                  V_round(sums[p + 1][1], scale[1], offset));
    const v128_t both = wasm_u8x16_narrow_i16x8(first, second);
    wasm_v128_store64_lane(to[p], both, 0);
    wasm_v128_store64_lane(to[p + 1], both, 1);
  }
  return out;
}

/* A layer that is done in chunks of rows has its weights widened for the first of them. Behind the sink is written whose
   are there: of a step's first panel, and of its second, whose weights follow. */
V_INLINE void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch, int pitch, int groups, int vectors) {
  const V_pixel *wide = V_prepare(strip, pixels, pitch, V_PIXELS, scratch);
  const panel **kept = (const panel **)(void *)(scratch + SINK_BYTES);
  const int number = p->channel > 0;
  const ptrdiff_t eight = 32 * groups, first = eight * (p->channel / 8), most = (WIDE_WEIGHTS_BYTES - KEPT_BYTES) / 2;
  const int keeps = begin == 0 && end == p->blocks && first + 2 * vectors * end * eight <= most;
  const int is_there = keeps && kept[number] == p;
  if (!is_there) {
    if (!keeps || number == 0) kept[0] = kept[1] = NULL;
    if (keeps) kept[number] = p;
  }
  V_weight *weights = (V_weight *)(void *)(scratch + SINK_BYTES + KEPT_BYTES) + (keeps ? first : 0);
  ROLLED for (int block = begin; block < end; block++)
    ROLLED for (int part = 0; part < 2 * vectors; part++) {
      const V_eight e = V_eight_of(part, vectors);
      const int lane = 16 * vectors * block;
      if (!is_there)
        V_widen_weights(p->weights + (ptrdiff_t)lane * 4 * groups, e, groups, 64 * vectors, weights);
      v128_t start[2], scale[2];
      UNROLL for (int half = 0; half < 2; half++) {
        start[half] = V_load(p->bias[V_SIGNED] + lane + e.lane[half]);
        scale[half] = wasm_v128_load(p->scale + lane + e.lane[half]);
      }
      cursor to = out;
      to.at += lane + 8 * part;
      const V_pixel *from = wide;
      ROLLED for (int left = pixels; left > 0; left -= V_PIXELS, from += V_PIXELS * pitch)
        to = V_tile(from, weights, start, scale, HAS_ATTENTION ? p->offset : 0, to, left, scratch, pitch, groups);
      if (keeps) weights += eight;
    }
}
