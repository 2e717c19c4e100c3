/* What a processor with AMX makes of its tiles, in C, one thread's. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static _Thread_local struct {
  uint8_t palette, first_row, unused[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} shapes;
static _Thread_local uint8_t tiles[8][16][64];

static inline void tile_shapes(const void *from) { memcpy(&shapes, from, sizeof shapes); }

static inline void tile_read(int tile, const void *from, ptrdiff_t apart) {
  memset(tiles[tile], 0, sizeof tiles[tile]);
  for (int row = 0; row < shapes.rows[tile]; row++)
    memcpy(tiles[tile][row], (const uint8_t *)from + row * apart, shapes.row_bytes[tile]);
}

static inline void tile_write(int tile, void *to, ptrdiff_t apart) {
  for (int row = 0; row < shapes.rows[tile]; row++)
    memcpy((uint8_t *)to + row * apart, tiles[tile][row], shapes.row_bytes[tile]);
}

/* The processor refuses tiles whose shapes do not fit. */
static inline int tile_products(int sums, int pixels, int weights) {
  if (shapes.rows[sums] != shapes.rows[pixels] || shapes.row_bytes[pixels] != 4 * shapes.rows[weights] ||
      shapes.row_bytes[sums] != shapes.row_bytes[weights])
    __builtin_trap();
  for (int row = 0; row < shapes.rows[sums]; row++)
    for (int lane = 0; lane < shapes.row_bytes[sums] / 4; lane++) {
      int32_t sum;
      memcpy(&sum, &tiles[sums][row][4 * lane], 4);
      for (int group = 0; group < shapes.rows[weights]; group++)
        for (int i = 0; i < 4; i++)
          sum += tiles[pixels][row][4 * group + i] * (int8_t)tiles[weights][group][4 * lane + i];
      memcpy(&tiles[sums][row][4 * lane], &sum, 4);
    }
  return 0;
}
