/* ---- what the first convolution reads ---- */

/* Two outputs at a time, from number `begin` on; where it stopped. Sixteen bytes of a row hold what both read of it; each
   goes to its place among 32 bytes an output, and zeros where another row's go. */
V_KERNEL int V_gather_pairs(const uint8_t *const *rows, int begin, int end, uint8_t *to) {
#if GATHERS_PAIRS
  for (; begin + 2 <= end; begin += 2) {
    V_ints both = V_zero();
    UNROLL for (int ky = 0; ky < STEM_KERNEL_H; ky++) {
      const void *from = rows[ky] + (begin * STEM_STRIDE_W - STEM_PADDING_W) * IMAGE_CHANNELS;
      const V_ints row = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)from));
      both = _mm512_or_si512(both, _mm512_shuffle_epi8(row, V_load(gather_places + 64 * ky)));
    }
    _mm512_storeu_si512(to + begin * STEM_PITCH, both);
  }
#else
  (void)rows, (void)end, (void)to;
#endif
  return begin;
}
