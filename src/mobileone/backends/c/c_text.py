"""Values as C source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

LITERAL_BYTES = 80  # a line of a string literal
# Three octal digits end an escape whatever follows; "?" is escaped for what trigraphs once were.
_ESCAPES = {code: f"\\{code:03o}" for code in range(256) if not 32 <= code < 127 or chr(code) in '"\\?'}


def c_string(text: str) -> str:
    """A string literal, UTF-8.

    >>> c_string('a "b"')
    '"a \\\\042b\\\\042"'
    """
    return '"' + text.encode().decode("latin-1").translate(_ESCAPES) + '"'


def byte_array(name: str, values: NDArray[np.int8] | NDArray[np.uint8], *, kind: str = "int8_t") -> str:
    """An array of bytes as a string literal, which compilers read much faster than a list of numbers.

    >>> print(byte_array("w", np.array([65, -1], np.int8)))
    static const ALIGNED int8_t w[2 + 1] =
      "A\\377";
    """
    data = values.tobytes()
    lines = [
        f'  "{data[start : start + LITERAL_BYTES].decode("latin-1").translate(_ESCAPES)}"'
        for start in range(0, len(data), LITERAL_BYTES)
    ]
    return f"static const ALIGNED {kind} {name}[{len(data)} + 1] =\n" + "\n".join(lines) + ";"


def number_array(name: str, values: NDArray[np.integer] | NDArray[np.float32], *, kind: str = "") -> str:
    """An array of `kind`, by default int32_t or float; floats exactly.

    >>> print(number_array("b", np.array([1, -2], np.int32)))
    static const ALIGNED int32_t b[2] = {
      1, -2};
    >>> print(number_array("s", np.array([0.1], np.float32)))
    static const ALIGNED float s[1] = {
      0.100000001f};
    """
    if values.dtype == np.float32:
        kind, texts = kind or "float", [c_float(value) for value in values.ravel().tolist()]
    else:
        kind = kind or "int32_t"
        texts = [_int(int(value)) for value in values.ravel().tolist()]
    return f"static const ALIGNED {kind} {name}[{len(texts)}] = {{\n" + _wrapped(texts) + "};"


def string_array(name: str, texts: Sequence[str]) -> str:
    """An array of strings."""
    lines = ",\n".join(f"  {c_string(text)}" for text in texts)
    return f"static const char *const {name}[{len(texts)}] = {{\n{lines}}};"


def c_float(value: float) -> str:
    """A float constant, exactly.

    >>> c_float(0.5), c_float(1), c_float(1e-8)
    ('0.5f', '1.0f', '9.99999994e-09f')
    """
    text = f"{np.float32(value):.9g}"
    return (text if any(mark in text for mark in ".e") else f"{text}.0") + "f"


def section(title: str) -> str:
    """A heading.

    >>> section("Weights").startswith("/* ==== Weights ====")
    True
    """
    return f"/* ==== {title} ".ljust(107, "=") + " */\n"


def _int(value: int) -> str:
    return str(value) if value > -(2**31) else "-2147483647 - 1"


def _wrapped(texts: Iterable[str]) -> str:
    lines, line = [], " "
    for text in texts:
        if len(line) + len(text) > 105:
            lines.append(line)
            line = " "
        line += f" {text},"
    return "\n".join([*lines, line])[:-1]
