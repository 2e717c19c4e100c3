"""What `save_state` wrote, read as plain values and tensors: no code runs, and nothing is taken on trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobileone.checkpoint.archive import Archive
from mobileone.checkpoint.contents import zip_tree
from mobileone.checkpoint.pickle_values import ITEM_SIZES, TORCH_NAMES, TensorRef
from mobileone.errors import CheckpointError, UnsafeCheckpointError

SCALARS = (str, bytes, int, float, bool, type(None))


def read_resume_file(path: Path) -> Any:
    """The value in a file, its tensors on the CPU with the strides they had.

    Takes no more memory than twice the file, and what its pickle's values take.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds anything but plain values and tensors.
        UnsafeCheckpointError: if it asks for code to run, or for more memory than it has bytes.
    """
    with Archive(path) as archive:
        tree = zip_tree(archive)
        try:
            return _Builder(archive).build(tree)
        except RecursionError as error:
            raise CheckpointError(f"cannot read {path}: its values are nested too deeply") from error


class _Builder:
    """Replaces the references of a pickle's tree by tensors; each container and tensor is made once."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._path = archive.path
        self._left = archive.path.stat().st_size
        self._storages: dict[str, bytearray] = {}
        self._tensors: dict[TensorRef, Tensor] = {}
        # By identity: one list may stand in another a thousand times, and so on. None is under way.
        self._made: dict[int, Any] = {}

    def build(self, value: Any) -> Any:
        if type(value) in SCALARS:
            return value
        if isinstance(value, TensorRef):
            return self._tensor(value)
        if type(value) not in (dict, list, tuple):
            raise CheckpointError(
                f"cannot read {self._path}: not a resume file of mobileone (it holds a "
                f"{getattr(value, 'name', type(value).__name__)})"
            )
        if id(value) not in self._made:
            self._made[id(value)] = None
            if isinstance(value, dict):
                made: Any = {key: self.build(item) for key, item in value.items()}
            else:
                made = type(value)(self.build(item) for item in value)
            self._made[id(value)] = made
        if self._made[id(value)] is None:
            raise CheckpointError(f"cannot read {self._path}: damaged, a value in it holds itself")
        return self._made[id(value)]

    def _tensor(self, ref: TensorRef) -> Tensor:
        if not ref.is_readable:
            raise CheckpointError(
                f"cannot read {self._path}: not a resume file of mobileone ({ref.dtype} in it)"
            )
        if ref not in self._tensors:
            size = ref.numel * ITEM_SIZES[ref.dtype]
            self._left -= size
            if self._left < 0:
                raise UnsafeCheckpointError(f"refused {self._path}: its tensors add up to more than the file")
            self._tensors[ref] = self._read(ref) if size else torch.empty(ref.shape, dtype=_dtype(ref))
        return self._tensors[ref]

    def _read(self, ref: TensorRef) -> Tensor:
        key, expected = ref.storage.key, ref.storage.numel * ITEM_SIZES[ref.dtype]
        if key not in self._storages:
            self._storages[key] = self._archive.read(f"data/{key}")
        if len(self._storages[key]) != expected:
            raise UnsafeCheckpointError(
                f"refused {self._path}: storage {key} should hold {expected} bytes, it has "
                f"{len(self._storages[key])}"
            )
        view = torch.frombuffer(self._storages[key], dtype=_dtype(ref))
        return view.as_strided(ref.shape, ref.stride, ref.offset).clone()


def _dtype(ref: TensorRef) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, TORCH_NAMES[ref.dtype])
    return dtype
