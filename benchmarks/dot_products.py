"""What a processor's products alone reach, and which of the C engine's instruction sets it has."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path

from mobileone.c_compiler import compile_c, find_compiler

FLAGS_OF = {"amx": "amx_int8", "avx512vnni": "avx512_vnni", "avxvnni": "avx_vnni", "avx2": "avx2"}
"""The engine's x86 kernels, best first, and the flag in /proc/cpuinfo that says they can run."""

# Twelve sums, so that none waits for its last product; six tiles of them. Without an instruction for it, 64
# bytes are two times 32, summed in 16 bits before they are widened.
SOURCE = """
#include <immintrin.h>
#include <time.h>
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CLEAR(i) vector c##i = zero;
#define RATE(NAME, TARGET, VECTOR, ZERO, ONE, DOT)                              \\
  __attribute__((target(TARGET))) double NAME(void) {                           \\
    typedef VECTOR vector;                                                      \\
    double best = 1e9;                                                          \\
    for (int r = 0; r < 300; r++) {                                             \\
      struct timespec t0, t1;                                                   \\
      const vector zero = ZERO, a = ONE;                                        \\
      TWELVE(CLEAR)                                                             \\
      clock_gettime(CLOCK_MONOTONIC, &t0);                                      \\
      for (int k = 0; k < 20000; k++) { TWELVE(DOT) }                           \\
      clock_gettime(CLOCK_MONOTONIC, &t1);                                      \\
      const double t = (t1.tv_sec - t0.tv_sec) + 1e-9 * (t1.tv_nsec - t0.tv_nsec); \\
      if (t < best) best = t;                                                   \\
    }                                                                           \\
    return 12.0 * 20000 / best;                                                 \\
  }
#define WIDE(i) __asm__ volatile("vpdpbusd %1, %1, %0" : "+v"(c##i) : "v"(a));
#define TWO(i)                                                                      \\
  __asm__ volatile("vpmaddubsw %1, %1, %%ymm14\\n\\tvpmaddubsw %1, %1, %%ymm15\\n\\t"   \\
                   "vpaddw %%ymm15, %%ymm14, %%ymm14\\n\\tvpmaddwd %1, %%ymm14, %%ymm14\\n\\t" \\
                   "vpaddd %%ymm14, %0, %0" : "+x"(c##i) : "x"(a) : "xmm14", "xmm15");
RATE(avx512vnni, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_set1_epi32(1), WIDE)
RATE(avx2, "avx2", __m256i, _mm256_setzero_si256(), _mm256_set1_epi32(1), TWO)
"""
TILES_SOURCE = """
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TILE(i) __asm__ volatile("tdpbusd %%tmm7, %%tmm6, %%tmm" #i : :);
__attribute__((target("amx-tile,amx-int8"))) double amx(void) {
  struct { uint8_t palette, first, unused[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } tiles = {1};
  for (int i = 0; i < 8; i++) tiles.row_bytes[i] = 64, tiles.rows[i] = 16;
  if (syscall(SYS_arch_prctl, 0x1023, 18)) return 0;
  __asm__ volatile("ldtilecfg %0" : : "m"(tiles));
  double best = 1e9;
  for (int r = 0; r < 300; r++) {
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (int k = 0; k < 2000; k++) { TILE(0) TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    const double t = (t1.tv_sec - t0.tv_sec) + 1e-9 * (t1.tv_nsec - t0.tv_nsec);
    if (t < best) best = t;
  }
  __asm__ volatile("tilerelease");
  return 6.0 * 2000 / best;
}
"""


def instruction_sets() -> list[str]:
    """The engine's names of those that this processor has, best first."""
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    return [name for name, flag in FLAGS_OF.items() if flag in flags]


def products_per_second() -> dict[str, float]:
    """Of one core: "dots" of 64 bytes, and "tiles" of 16 rows by 64 bytes where it has AMX and Linux lets it.

    Empty where the best instructions for dot products are none that are known here.
    """
    sets = instruction_sets()
    dots = next((name for name in sets if name != "amx"), None)
    if dots not in ("avx512vnni", "avx2"):
        return {}
    wanted = {"dots": dots} | ({"tiles": "amx"} if "amx" in sets else {})
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "floor.c", Path(folder) / "floor.so"
        source.write_text(SOURCE + (TILES_SOURCE if "tiles" in wanted else ""), encoding="utf-8")
        compile_c([*find_compiler(), "-O2", "-shared", "-fPIC"], source, library)
        functions = ctypes.CDLL(str(library))
        rates = {}
        for kind, name in wanted.items():
            function = getattr(functions, name)
            function.restype = ctypes.c_double
            rates[kind] = float(function())
        return {kind: rate for kind, rate in rates.items() if rate}
