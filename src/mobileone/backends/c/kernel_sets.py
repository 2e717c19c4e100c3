"""The sets of kernels, one an instruction set: which files of templates/ make each up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from mobileone.backends.c.packing import TileShape

Guard = Literal[
    "HAS_AMX_KERNELS", "HAS_X86_KERNELS", "HAS_ARM_KERNELS", "HAS_RELAXED_KERNELS", "HAS_WASM_KERNELS"
]
POINTWISE_ARGUMENTS = (
    "const uint8_t *strip, int pixels, const panel *p, int begin, int end, cursor out, uint8_t *scratch"
)

MACROS = (  # of the files
    *("TARGET", "INLINE", "KERNEL", "dot_lane", "LOAD_AT", "IN_PLACE", "AS_BYTES"),
    *("HOLDS_TAPS", "interleave_1", "store_turn_1"),
    *("READ", "WRITE", "PRODUCTS", "MULTIPLY", "STRIP", "STRIPS"),
)


@dataclass(frozen=True, slots=True)
class KernelSet:
    """One instruction set's kernels.

    Every name in its files that begins with V_ gets the set's own name in its place.

    Attributes:
        name: as the C file calls it.
        family: whose sizes of tiles it takes, a key of `packing.MOST_PIXELS`.
        files: of templates/, in order: operations on vectors, then kernels written in them.
        guard: the macro that tells whether the compiler knows it.
        others: the set that does all jobs but the pointwise one, which then has one kernel for every shape.
    """

    name: str
    family: str
    files: tuple[str, ...]
    guard: Guard
    others: str | None = None

    def text(self, shapes: Sequence[TileShape]) -> str:
        """Its part of the C file: operations, kernels, a pointwise kernel for every shape, a table of all."""
        macros = "".join(f"#undef V_{name}\n" for name in MACROS)
        if self.others:
            table = kernel_table("V", self.name, ["V_pointwise"] * len(shapes), others=self.others)
            return self._guarded([*map(template, self.files), table, macros])
        constants = [(s.pitch, dict(s.pixels).get(self.family, s.groups), s.vectors) for s in shapes]
        names = ["V_pointwise_{}_{}_{}".format(*each) for each in constants]
        instances = {
            name: f"V_KERNEL void {name}({POINTWISE_ARGUMENTS}) {{\n"
            f"  V_pointwise(strip, pixels, p, begin, end, out, scratch, {', '.join(map(str, each))});\n}}\n"
            for name, each in zip(names, constants, strict=True)
        }
        table = kernel_table("V", self.name, names)
        return self._guarded([*map(template, self.files), *instances.values(), table, macros])

    def _guarded(self, parts: Sequence[str]) -> str:
        text = re.sub(r"\bV_", f"{self.name}_", "\n".join(parts))
        return f"#if {self.guard}\n{text}#endif\n"


def kernel_table(prefix: str, name: str, pointwise: Sequence[str], *, others: str | None = None) -> str:
    """The table that the engine calls a set through.

    Args:
        prefix: of its functions.
        name: of the set.
        pointwise: functions, one a shape.
        others: the prefix of all functions but those; None is the same.
    """
    common = others or prefix
    gather = "avx512vnni_gather_pairs" if "avx512vnni" in (name, others) else "NULL"
    functions = [f"{common}_depthwise_1, {common}_depthwise_2}}, {gather}", f"{prefix}_pointwise_table"]
    functions += [
        f"{common}_{job}" for job in ("add_pixels", "round_averages", "dense", "gate_pixels", "classify")
    ]
    signed = "0" if prefix == "plain" else f"{common}_SIGNED"
    return (
        f"static void (*const {prefix}_pointwise_table[])({POINTWISE_ARGUMENTS}) = {{\n  "
        + ",\n  ".join(pointwise)
        + "};\n"
        + f'static const kernels {prefix}_kernels = {{\n  "{name}", {prefix}_is_supported, {signed}, {{'
        + ", ".join(functions)
        + "};\n"
    )


def template(name: str) -> str:
    """The text of a file of templates/."""
    return (resources.files("mobileone.backends.c") / "templates" / name).read_text(encoding="utf-8")


_SHARED = ("depthwise.c", "elementwise.c")
_BYTES = ("products_of_bytes.c", "pointwise.c", *_SHARED)
_NEON = ("vectors_neon.c", "products_of_bytes.c", "pointwise_neon.c", *_SHARED)
_256_BITS = "vectors_256_bits.c"
_COLUMNS = ("depthwise_columns.c", "elementwise.c")
_RELAXED = (
    "vectors_simd128.c",
    "products_relaxed.c",
    "pointwise_relaxed.c",
    *_SHARED,
)
KERNEL_SETS = (
    KernelSet("amx", "avx512vnni", ("pointwise_amx.c",), "HAS_AMX_KERNELS", others="avx512vnni"),
    KernelSet(
        "avx512vnni", "avx512vnni", ("vectors_avx512vnni.c", "gather_pairs.c", *_BYTES), "HAS_X86_KERNELS"
    ),
    KernelSet("avxvnni", "avxvnni", ("vectors_avxvnni.c", _256_BITS, *_BYTES), "HAS_X86_KERNELS"),
    KernelSet(
        "avx2",
        "avx2",
        ("vectors_avx2.c", _256_BITS, "products_of_words.c", "pointwise_pairs.c", *_SHARED),
        "HAS_X86_KERNELS",
    ),
    KernelSet("i8mm", "neon", ("neon_i8mm.c", *_NEON), "HAS_ARM_KERNELS"),
    KernelSet("dotprod", "neon", ("neon_dotprod.c", *_NEON), "HAS_ARM_KERNELS"),
    KernelSet("relaxed", "relaxed", ("relaxed_unsigned.c", *_RELAXED), "HAS_RELAXED_KERNELS"),
    KernelSet("relaxed_signed", "relaxed", ("relaxed_signed.c", *_RELAXED), "HAS_RELAXED_KERNELS"),
    KernelSet(
        "relaxed_pairs",
        "relaxed",
        ("vectors_simd128.c", "products_simd128.c", "pointwise_relaxed_pairs.c", *_COLUMNS),
        "HAS_RELAXED_KERNELS",
    ),
    KernelSet(
        "simd128",
        "simd128",
        ("vectors_simd128.c", "products_simd128.c", "pointwise_simd128.c", *_COLUMNS),
        "HAS_WASM_KERNELS",
    ),
)
"""Best first, of each processor's."""


def all_kernels(shapes: Sequence[TileShape]) -> str:
    """Plain C's table, every set, and the macro that lists what a compiler has of them."""

    def listed(guard: Guard) -> str:
        return ", ".join([f"&{each.name}_kernels" for each in KERNEL_SETS if each.guard == guard])

    choices = (
        "#if HAS_AMX_KERNELS\n#define ALL_KERNELS "
        f"{listed('HAS_AMX_KERNELS')}, {listed('HAS_X86_KERNELS')}, &plain_kernels\n"
        f"#elif HAS_X86_KERNELS\n#define ALL_KERNELS {listed('HAS_X86_KERNELS')}, &plain_kernels\n"
        f"#elif HAS_ARM_KERNELS\n#define ALL_KERNELS {listed('HAS_ARM_KERNELS')}, &plain_kernels\n"
        "#elif HAS_RELAXED_KERNELS\n#define ALL_KERNELS "
        f"{listed('HAS_RELAXED_KERNELS')}, {listed('HAS_WASM_KERNELS')}, &plain_kernels\n"
        f"#elif HAS_WASM_KERNELS\n#define ALL_KERNELS {listed('HAS_WASM_KERNELS')}, &plain_kernels\n"
        "#else\n#define ALL_KERNELS &plain_kernels\n#endif\n"
    )
    plain = kernel_table("plain", "plain", ["plain_pointwise"] * len(shapes))
    # A set whose other jobs another one does comes behind that.
    in_order = sorted(KERNEL_SETS, key=lambda each: each.others is not None)
    return "\n".join([plain, *(each.text(shapes) for each in in_order), choices])
