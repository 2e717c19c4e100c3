"""The header of a safetensors file: names, shapes and types, without numpy or torch to wait for."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

from mobileone.checkpoint.archive import is_name
from mobileone.checkpoint.config import parse_json
from mobileone.checkpoint.pickle_values import ITEM_SIZES
from mobileone.errors import CheckpointError
from mobileone.regular_file import open_regular

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_LENGTH = struct.Struct("<Q")


class TensorInfo(NamedTuple):
    """Shape and element type of a tensor."""

    shape: tuple[int, ...]
    dtype: str


def read_header(path: Path, *, size: int) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Tensors by name, and the file's metadata.

    Args:
        path: the file.
        size: its length, in bytes.

    Raises:
        CheckpointError: if the header is damaged, or its tensors do not fill the file exactly.
    """
    with open_regular(path) as file:
        start = file.read(_LENGTH.size)
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else size
        if length > min(size - _LENGTH.size, MAX_HEADER_BYTES):
            raise CheckpointError(f"cannot read {path}: incomplete, it ends within its header")
        text = file.read(length)
    header = parse_json(text.decode("utf-8", "replace"), source=f"cannot read {path}: its header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"cannot read {path}: its metadata must be strings")
    tensors, spans = {}, []
    for name, entry in header.items():
        if not is_name(name):
            raise CheckpointError(f"cannot read {path}: a tensor in it has no proper name")
        try:
            tensors[name], span = _tensor(entry)
        except (TypeError, ValueError, LookupError) as error:
            raise CheckpointError(f"cannot read {path}: header entry {name} is damaged") from error
        spans.append(span)
    end = 0
    for first, last in sorted(spans):
        if first != end:
            raise CheckpointError(f"cannot read {path}: its tensors overlap or leave a gap")
        end = last
    if end != size - _LENGTH.size - length:
        raise CheckpointError(
            f"cannot read {path}: incomplete, its tensors need {end} bytes and it has "
            f"{size - _LENGTH.size - length}"
        )
    return tensors, metadata


def _tensor(entry: Any) -> tuple[TensorInfo, tuple[int, int]]:
    shape, (first, last) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(value) is int and value >= 0 for value in (*shape, first, last)):
        raise ValueError
    if not is_name(entry["dtype"]):
        raise ValueError
    # Types that no network of ours has may stand beside it, and their size is not known here.
    if entry["dtype"] in ITEM_SIZES and math.prod(shape) * ITEM_SIZES[entry["dtype"]] != last - first:
        raise ValueError
    return TensorInfo(shape, entry["dtype"]), (first, last)
