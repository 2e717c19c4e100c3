"""What lies in a checkpoint file, of whatever container, as named tensors and a config.

The container is recognised from the first bytes, never from the suffix. Imports torch only to load tensors.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mobileone.checkpoint.archive import Archive, describe_error
from mobileone.checkpoint.config import CONFIG_KEY, ModelConfig, parse_json
from mobileone.checkpoint.pickle_reader import read_pickle
from mobileone.checkpoint.pickle_values import ITEM_SIZES, OTHER_SIZES, TORCH_NAMES, StorageRef, TensorRef
from mobileone.checkpoint.recognition import HasShape
from mobileone.checkpoint.safetensors_header import read_header
from mobileone.checkpoint.state_finder import find_config, find_tables
from mobileone.errors import CheckpointError, UnsafeCheckpointError
from mobileone.regular_file import open_regular

if TYPE_CHECKING:
    from torch import Tensor

Container = Literal["safetensors", "torch zip", "torch legacy"]

MAX_PICKLE_BYTES = 64 * 2**20
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
_SIZE = struct.Struct("<q")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A checkpoint file, opened and not yet loaded.

    Attributes:
        path: the file.
        container: how it is packed.
        size_bytes: of the whole file.
        tables: every table of named tensors in it, as shapes and types, by the key that it stands under:
            `state_dict`, `model.ema`; empty at the top.
        config: what the file says of itself.
        read: gives tensors of a table by name, as they are in the file, contiguous, in memory of their own.
    """

    path: Path
    container: Container
    size_bytes: int
    tables: Mapping[str, Mapping[str, HasShape]]
    config: ModelConfig
    read: Callable[[str, list[str]], dict[str, Tensor]]


def open_contents(path: Path) -> Contents:
    """Look into a checkpoint file without loading its tensors.

    Raises:
        CheckpointError: if it cannot be read, or is no checkpoint.
        UnsafeCheckpointError: if it asks for code to run or for more memory than its size.
    """
    try:
        with open_regular(path) as file:
            first = file.read(16)
            file.seek(257)
            tar = file.read(5) == b"ustar"
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if not first:
        raise CheckpointError(f"cannot read {path}: the file is empty")
    if first[:4] == b"PK\x03\x04":
        return _open_zip(path, size)
    # Before the pickle's mark: a header's length may begin with the same byte.
    if first[8:9] == b"{":
        return _open_safetensors(path, size)
    if first[:1] == b"\x80":
        return _open_legacy(path, size)
    if tar:
        raise CheckpointError(
            f"cannot read {path}: a tar archive, torch's format before 2018; save it anew with an old torch"
        )
    raise CheckpointError(
        f"cannot read {path}: neither safetensors nor a file of torch.save (it starts with {first[:8]!r})"
    )


def _open_safetensors(path: Path, size: int) -> Contents:
    tensors, metadata = read_header(path, size=size)
    config = ModelConfig()
    if CONFIG_KEY in metadata:
        config = ModelConfig.from_dict(parse_json(metadata[CONFIG_KEY], source=path), source=path)

    def read(_: str, names: list[str]) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                # The library maps the file; a model must not change or vanish with it.
                return {name: file.get_tensor(name).clone() for name in names}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"cannot read {path}: {describe_error(error)}") from error

    return Contents(
        path=path,
        container="safetensors",
        size_bytes=size,
        tables={"": tensors},
        config=config,
        read=read,
    )


def _open_zip(path: Path, size: int) -> Contents:
    with Archive(path) as archive:
        tree = zip_tree(archive)
        entries = archive.entries

    def length(storage: StorageRef) -> int | None:
        entry = entries.get(f"data/{storage.key}")
        return None if entry is None else entry.size

    def read(storages: list[StorageRef]) -> dict[str, bytearray]:
        with Archive(path) as archive:
            return {storage.key: archive.read(f"data/{storage.key}") for storage in storages}

    return _from_tree(tree, path, "torch zip", size, length, read)


def zip_tree(archive: Archive) -> Any:
    """The value that torch.save wrote into a zip, with a reference in place of each tensor.

    Raises:
        CheckpointError: if it is another kind of archive, or damaged.
        UnsafeCheckpointError: if its pickle asks for code to run, or is larger than any checkpoint's.
    """
    path = archive.path
    if "byteorder" in archive.entries and archive.read("byteorder") != b"little":
        raise CheckpointError(f"cannot read {path}: written on a big-endian machine")
    if "data.pkl" in archive.entries and archive.entries["data.pkl"].size > MAX_PICKLE_BYTES:
        raise UnsafeCheckpointError(f"refused {path}: its pickle is larger than any checkpoint's")
    return read_pickle(io.BytesIO(archive.read("data.pkl")), path=path)


def _open_legacy(path: Path, size: int) -> Contents:
    """A file of torch before 1.6, or of torch.save's old option: pickles, then each storage's raw bytes."""
    places: dict[str, tuple[int, int]] = {}
    with open_regular(path) as plain, mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ) as file:
        if read_pickle(file, path=path) != LEGACY_MAGIC or read_pickle(file, path=path) != LEGACY_PROTOCOL:
            raise CheckpointError(f"cannot read {path}: a pickle, but not one that torch.save wrote")
        system = read_pickle(file, path=path)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise CheckpointError(f"cannot read {path}: written on a big-endian machine")
        storages: dict[str, StorageRef] = {}
        tree = read_pickle(file, path=path, storages=storages)
        keys = read_pickle(file, path=path)
        for key in keys if isinstance(keys, list) else ():
            storage = storages.get(key) if isinstance(key, str) else None
            header = file.read(_SIZE.size)
            if storage is None or len(header) != _SIZE.size or _SIZE.unpack(header)[0] != storage.numel:
                raise CheckpointError(f"cannot read {path}: damaged or incomplete")
            width = (ITEM_SIZES | OTHER_SIZES).get(storage.dtype)
            if width is None:
                raise CheckpointError(
                    f"cannot read {path}: it holds a {storage.dtype}, whose elements are of unknown length; "
                    "save the weights alone"
                )
            start, num_bytes = file.tell(), storage.numel * width
            if start + num_bytes > size:
                raise CheckpointError(f"cannot read {path}: incomplete, it ends in the middle of a tensor")
            places[key] = (start, num_bytes)
            file.seek(start + num_bytes)

    def length(storage: StorageRef) -> int | None:
        return places[storage.key][1] if storage.key in places else None

    def read(wanted: list[StorageRef]) -> dict[str, bytearray]:
        contents = {}
        with open_regular(path) as file:
            for storage in wanted:
                start, num_bytes = places[storage.key]
                file.seek(start)
                contents[storage.key] = bytearray(file.read(num_bytes))
        return contents

    return _from_tree(tree, path, "torch legacy", size, length, read)


def _from_tree(
    tree: Any,
    path: Path,
    container: Container,
    size: int,
    length: Callable[[StorageRef], int | None],
    read_storages: Callable[[list[StorageRef]], dict[str, bytearray]],
) -> Contents:
    tables = find_tables(tree, source=path)
    for table in tables.values():
        _check_sizes(table, path, size, length)

    def read(key: str, names: list[str]) -> dict[str, Tensor]:
        wanted = {name: tables[key][name] for name in names}
        distinct = {ref.storage.key: ref.storage for ref in wanted.values()}
        return _materialize(wanted, read_storages(list(distinct.values())))

    return Contents(
        path=path,
        container=container,
        size_bytes=size,
        tables=tables,
        config=find_config(tree, source=path),
        read=read,
    )


def _check_sizes(
    refs: Mapping[str, TensorRef], path: Path, size: int, length: Callable[[StorageRef], int | None]
) -> None:
    """Refuse tensors that would take more memory than the file has bytes."""
    known = {name: ref for name, ref in refs.items() if ref.is_readable}
    for name, ref in known.items():
        expected = ref.storage.numel * ITEM_SIZES[ref.dtype]
        if length(ref.storage) != expected:
            raise UnsafeCheckpointError(
                f"refused {path}: the storage of {name} should hold {expected} bytes, the file has "
                f"{length(ref.storage)}"
            )
    total = sum(ref.numel * ITEM_SIZES[ref.dtype] for ref in known.values())
    if total > size:
        raise UnsafeCheckpointError(
            f"refused {path}: its tensors add up to {total} bytes, the file has {size}: they share memory"
        )


def _materialize(refs: Mapping[str, TensorRef], storages: Mapping[str, bytearray]) -> dict[str, Tensor]:
    import torch

    uses = Counter(ref.storage.key for ref in refs.values())
    tensors = {}
    for name, ref in refs.items():
        if not ref.numel:
            tensors[name] = torch.empty(ref.shape, dtype=getattr(torch, TORCH_NAMES[ref.dtype]))
            continue
        flat = torch.frombuffer(storages[ref.storage.key], dtype=getattr(torch, TORCH_NAMES[ref.dtype]))
        view = flat.as_strided(ref.shape, ref.stride, ref.offset)
        # Tensors that share memory in the file must not do so in a model that is trained.
        shared = uses[ref.storage.key] > 1 or ref.numel < ref.storage.numel
        tensors[name] = view.clone(memory_format=torch.contiguous_format) if shared else view.contiguous()
    return tensors
