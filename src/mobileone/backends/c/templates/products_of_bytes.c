/* ---- what dot products of bytes need: nothing is prepared, everything is read as it lies ---- */

enum { V_PARTS = 1, V_WEIGHTS = 64, V_TAPS = 256, V_TAPS_ROOM = 1 };

V_INLINE const V_pixel *V_prepare(const uint8_t *strip, int pixels, int pitch, int size, uint8_t *scratch) {
  return (void)pixels, (void)pitch, (void)size, (void)scratch, strip;
}
V_INLINE const V_weight *V_prepare_weights(const int8_t *weights, int groups, int apart, int vectors,
                                           uint8_t *scratch) {
  return (void)groups, (void)apart, (void)vectors, (void)scratch, weights;
}
V_INLINE int V_weights_apart(int apart, int vectors) { return (void)vectors, apart; }
V_INLINE V_ints V_dot_group(V_ints sums, const V_pixel *four, const int8_t *weights) {
  return V_dot(sums, V_broadcast(four), V_weights(weights));
}
V_INLINE const V_weight *V_prepare_taps(const int8_t *taps, int count, V_weight *room) {
  return (void)count, (void)room, taps;
}
V_INLINE V_held V_hold(const V_weight *taps) { return V_weights(taps); }
V_INLINE V_ints V_dot_taps(V_ints sums, V_bytes bytes, V_held taps) { return V_dot(sums, bytes, taps); }
