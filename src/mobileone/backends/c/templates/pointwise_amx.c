/* ==== AMX: tiles of 16 pixels by 64 bytes, the rest with AVX-512 VNNI ===================================== */

#define V_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,amx-tile,amx-int8")))
#define V_INLINE V_TARGET static inline __attribute__((always_inline))
#define V_KERNEL V_TARGET static __attribute__((noinline))

/* As instructions: gcc 12's intrinsics do not say that tiles are read from memory. */
#define V_READ(tile, from, apart) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"((ptrdiff_t)(apart)) : "memory")
#define V_WRITE(tile, to) \
  __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(to), "r"((ptrdiff_t)64) : "memory")
#define V_PRODUCTS(sums, pixels, weights) \
  __asm__ volatile("tdpbusd %%tmm" #weights ", %%tmm" #pixels ", %%tmm" #sums : :)

enum { V_MOST = 16, V_TILE_BYTES = 1024 }; /* pixels, and groups of four input channels, of a tile */

typedef struct { /* What `ldtilecfg` reads. */
  uint8_t palette, first_row, unused[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} V_tiles;

/* Two tiles of pixels have sums in 0 to 2 and in 3 to 5, as many as vectors. With three, 6 holds pixels and 7 weights;
   with fewer, 2 and 5 hold the pixels of both, so that 6 and 7 are read once for them. */
V_INLINE void V_set_tiles(int pixels, int groups, int vectors) {
  V_tiles tiles = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    const int is_pixels = vectors > 2 ? i == 6 : i == 2 || i == 5, is_weights = i == 7 || (vectors < 3 && i == 6);
    tiles.row_bytes[i] = (uint16_t)(is_pixels ? 4 * groups : 64);
    tiles.rows[i] = (uint8_t)(is_weights ? groups : pixels);
  }
  __asm__ volatile("ldtilecfg %0" : : "m"(tiles));
}

/* The products of `4 * depth` input channels. */
V_INLINE void V_multiply_step(const uint8_t *first, const uint8_t *second, int pitch, const int8_t *weights,
                              int vectors) {
  const ptrdiff_t apart = 64 * vectors;
  if (vectors < 3) {
    V_READ(2, first, pitch);
    V_READ(6, weights, apart);
    V_PRODUCTS(0, 2, 6);
    if (vectors == 2) {
      V_READ(7, weights + 64, apart);
      V_PRODUCTS(1, 2, 7);
    }
    V_READ(5, second, pitch);
    V_PRODUCTS(3, 5, 6);
    if (vectors == 2) V_PRODUCTS(4, 5, 7);
    return;
  }
  V_READ(6, first, pitch);
  V_READ(7, weights, apart);
  V_PRODUCTS(0, 6, 7);
  V_READ(7, weights + 64, apart);
  V_PRODUCTS(1, 6, 7);
  V_READ(7, weights + 128, apart);
  V_PRODUCTS(2, 6, 7);
  V_READ(6, second, pitch);
  V_PRODUCTS(5, 6, 7);
  V_READ(7, weights, apart);
  V_PRODUCTS(3, 6, 7);
  V_READ(7, weights + 64, apart);
  V_PRODUCTS(4, 6, 7);
}

/* Sums of two tiles of pixels over all input channels, `depth` groups of four a step; then they are at `sums`. */
V_INLINE void V_multiply(const uint8_t *first, const uint8_t *second, int pitch, const int8_t *weights, int groups,
                         int depth, const int32_t *start, int vectors, uint8_t *sums) {
  V_READ(0, start, 0);
  V_READ(3, start, 0);
  if (vectors > 1) {
    V_READ(1, start + 16, 0);
    V_READ(4, start + 16, 0);
  }
  if (vectors > 2) {
    V_READ(2, start + 32, 0);
    V_READ(5, start + 32, 0);
  }
  ROLLED for (int k = 0; k < groups; k += depth) {
    V_multiply_step(first, second, pitch, weights, vectors);
    first += 4 * depth;
    second += 4 * depth;
    weights += 64 * depth * vectors;
  }
  V_WRITE(0, sums);
  V_WRITE(3, sums + 3 * V_TILE_BYTES);
  if (vectors > 1) {
    V_WRITE(1, sums + V_TILE_BYTES);
    V_WRITE(4, sums + 4 * V_TILE_BYTES);
  }
  if (vectors > 2) {
    V_WRITE(2, sums + 2 * V_TILE_BYTES);
    V_WRITE(5, sums + 5 * V_TILE_BYTES);
  }
}

/* Functions of their own, whose loops have registers enough for all pointers. */
#define V_MULTIPLY(vectors)                                                                                     \
  V_KERNEL void V_pointwise_sums_##vectors(const uint8_t *first, const uint8_t *second, int pitch,              \
                                           const int8_t *weights, int groups, int depth, const int32_t *start,  \
                                           uint8_t *sums) {                                                     \
    V_multiply(first, second, pitch, weights, groups, depth, start, vectors, sums);                             \
  }
V_MULTIPLY(1)
V_MULTIPLY(2)
V_MULTIPLY(3)

/* One tile's sums to where its pixels go. */
V_INLINE void V_give(const uint8_t *sums, int rows, const avx512vnni_scales *scales, int32_t offset, cursor out,
                     int vectors) {
  ROLLED for (int i = 0; i < rows; i += 2) {
    avx512vnni_ints a[3], b[3];
    const int other = i + 1 < rows ? 64 : 0; /* the last of an odd number is stored twice */
    UNROLL for (int v = 0; v < vectors; v++) {
      a[v] = avx512vnni_load(sums + V_TILE_BYTES * v + 64 * i);
      b[v] = avx512vnni_load(sums + V_TILE_BYTES * v + 64 * i + other);
    }
    uint8_t *to = out.at;
    out = advanced(out, 1);
    avx512vnni_store(to, other ? out.at : to, a, b, scales, offset, vectors);
    out = advanced(out, 1);
  }
}

/* Two tiles of pixels at a time, all of one size, an even number of them: where one would end behind the last pixel, it
   begins earlier, and some are computed twice. */
V_INLINE void V_strip(const uint8_t *strip, int pixels, const panel *p, int depth, int is_lifted, int32_t offset,
                      int begin, int end, cursor out, uint8_t *scratch, int vectors) {
  void (*const multiply)(const uint8_t *, const uint8_t *, int, const int8_t *, int, int, const int32_t *, uint8_t *) =
      vectors == 1 ? V_pointwise_sums_1 : vectors == 2 ? V_pointwise_sums_2 : V_pointwise_sums_3;
  const int tiles = 2 * divided_up(pixels, 2 * V_MOST), size = divided_up(pixels, tiles);
  int32_t *start = (int32_t *)(void *)(scratch + 6 * V_TILE_BYTES);
  V_set_tiles(size, depth, vectors);
  for (int block = begin; block < end; block++) {
    const int lanes = 16 * vectors * block;
    const int8_t *weights = p->weights + (ptrdiff_t)p->groups * 4 * lanes;
    const avx512vnni_scales scales = avx512vnni_load_scales(p->scale + lanes, vectors, is_lifted);
    UNROLL for (int v = 0; v < vectors; v++)
      avx512vnni_store_ints(start + 16 * v, avx512vnni_start(p->bias[0] + lanes + 16 * v, is_lifted));
    for (int i = 0; i < tiles; i += 2) {
      const int first = smaller(i * size, pixels - size), second = smaller((i + 1) * size, pixels - size);
      cursor to = out;
      to.at += lanes;
      multiply(strip + first * p->pitch, strip + second * p->pitch, p->pitch, weights, p->groups, depth, start, scratch);
      V_give(scratch, size, &scales, offset, advanced(to, first), vectors);
      V_give(scratch + 3 * V_TILE_BYTES, size, &scales, offset, advanced(to, second), vectors);
    }
  }
  __asm__ volatile("tilerelease");
}

#define V_STRIP(is_lifted, offset, vectors) \
  V_strip(strip, pixels, p, depth, is_lifted, offset, begin, end, out, scratch, vectors)
#define V_STRIPS(is_lifted, offset)                      \
  switch (p->vectors) {                                  \
    case 1: V_STRIP(is_lifted, offset, 1); return;       \
    case 2: V_STRIP(is_lifted, offset, 2); return;       \
    default: V_STRIP(is_lifted, offset, 3); return;      \
  }

/* Where tiles do not divide the input channels evenly, AVX-512 VNNI does it. */
V_KERNEL void V_pointwise(const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out,
                          uint8_t *scratch) {
  const int depth = p->groups / divided_up(p->groups, V_MOST);
  if (p->groups % depth) {
    avx512vnni_pointwise_table[p->shape](strip, pixels, p, begin, end, out, scratch);
    return;
  }
  if (HAS_PLAIN_SUMS && !p->is_lifted) {
    V_STRIPS(0, p->offset)
  }
  V_STRIPS(1, 0)
}
