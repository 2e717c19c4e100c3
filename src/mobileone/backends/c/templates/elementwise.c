/* ---- averages, gates, classifier ---- */

V_KERNEL void V_add_pixels(map in, int height, int width, int channels, int32_t *sums) {
  for (int c = 0; c < channels; c += 4 * V_LANES) {
    const int left = (channels - c) / V_LANES, vectors = left < 4 ? left : 4;
    V_ints part[4] = {V_zero(), V_zero(), V_zero(), V_zero()};
    for (int y = 0; y < height; y++)
      for (int x = 0; x < width; x++) {
        const uint8_t *pixel = in.data + y * in.row + x * in.pixel + c;
        UNROLL for (int v = 0; v < 4; v++) part[v] = V_add(part[v], V_widen(pixel + (v < vectors ? v : 0) * V_LANES));
      }
    for (int v = 0; v < vectors; v++) V_store_ints(sums + c + v * V_LANES, part[v]);
  }
}

/* There is room behind the last channel for what a vector has more. */
V_KERNEL void V_round_averages(const int32_t *sums, int channels, float count, float step, float unit, uint8_t *out) {
  for (int c = 0; c < channels; c += V_LANES) V_narrow(out + c, V_average(V_load(sums + c), count, step, unit));
}

V_KERNEL void V_dense(const float *weights, const double *values, int inputs, double *sums, int outputs) {
  for (int o = 0; o < outputs; o += 4 * V_DOUBLES) {
    const int left = (outputs - o) / V_DOUBLES, vectors = left < 4 ? left : 4;
    V_doubles part[4];
    UNROLL for (int v = 0; v < 4; v++) part[v] = V_load_doubles(sums + o + (v < vectors ? v : 0) * V_DOUBLES);
    for (int i = 0; i < inputs; i++) {
      const float *w = weights + (ptrdiff_t)i * outputs + o;
      UNROLL for (int v = 0; v < 4; v++)
        part[v] = V_multiply_add(part[v], w + (v < vectors ? v : 0) * V_DOUBLES, values[i]);
    }
    for (int v = 0; v < vectors; v++) V_store_doubles(sums + o + v * V_DOUBLES, part[v]);
  }
}

V_KERNEL void V_gate_pixels(uint8_t *row, ptrdiff_t pixel, int width, int channels, const float *gates, float scale,
                            int in_offset, int out_offset) {
  for (int x = 0; x < width; x++)
    for (int c = 0; c < channels; c += V_LANES) {
      uint8_t *value = row + x * pixel + c;
      V_narrow(value, V_gate(V_widen(value), in_offset, gates + c, scale, out_offset));
    }
}

/* One block's sums. The input channels go in four parts, so that no sum waits for the one before. */
V_INLINE void V_classify_block(const V_pixel *features, int groups, const int8_t *weights, const int32_t *bias,
                               int32_t *lanes, int vectors) {
  V_ints sums[4][3];
  UNROLL for (int v = 0; v < vectors; v++) {
    sums[0][v] = V_start(bias + 16 * v, 0);
    UNROLL for (int part = 1; part < 4; part++) sums[part][v] = V_zero();
  }
  ROLLED for (int k = 0; k < groups; k += 4) {
    UNROLL for (int part = 0; part < 4; part++) {
      UNROLL for (int v = 0; v < vectors; v++)
        sums[part][v] =
            V_dot_group(sums[part][v], features + 4 * (k + part), weights + 64 * (vectors * (k + part) + v));
    }
  }
  UNROLL for (int v = 0; v < vectors; v++)
    V_store_sums(lanes + 16 * v, V_add(V_add(sums[0][v], sums[1][v]), V_add(sums[2][v], sums[3][v])));
}

V_KERNEL void V_classify(const uint8_t *features, const panel *p, int begin, int end, int32_t *out, uint8_t *scratch) {
  const V_pixel *from = V_prepare(features, 1, 4 * p->groups, 1, scratch);
  for (int block = begin; block < end; block++) {
    const int first = 16 * p->vectors * block;
    const int8_t *weights = p->weights + (ptrdiff_t)first * 4 * p->groups;
    int32_t lanes[48];
    for (int slice = 0; slice < 16; slice += V_SLICE) {
      const int8_t *w = weights + 4 * slice;
      const int32_t *bias = p->bias[V_SIGNED] + first + slice;
      if (p->vectors == 1) V_classify_block(from, p->groups, w, bias, lanes + slice, 1);
      if (p->vectors == 2) V_classify_block(from, p->groups, w, bias, lanes + slice, 2);
      if (p->vectors == 3) V_classify_block(from, p->groups, w, bias, lanes + slice, 3);
    }
    for (int lane = 0; lane < 16 * p->vectors; lane++)
      out[p->channel + first + channel_of_lane(lane, p->vectors)] = lanes[lane];
  }
}
