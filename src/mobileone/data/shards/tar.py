"""Tar files in WebDataset's layout: what lies where. Nothing is unpacked."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

from mobileone.data.layout import IMAGE_EXTENSIONS, Split
from mobileone.data.shards.index import BLOCK_BYTES, ShardIndex
from mobileone.errors import DataError
from mobileone.file_hash import sha256_of
from mobileone.limits import IMAGE_BYTES
from mobileone.outside_text import printable
from mobileone.regular_file import open_regular, parse_json_text
from mobileone.task import Task

MAX_LABEL_BYTES = 64
MAX_LABELS_BYTES = 2**20
MAX_HEADER_BYTES = 2**20  # of an extended header, a long name for example
LABEL: Mapping[Task, str] = {"singlelabel": "cls", "multilabel": "json"}
_KNOWN = tuple(extension.removeprefix(".") for extension in IMAGE_EXTENSIONS)


class Member(NamedTuple):
    """A file in a tar file."""

    name: str
    offset: int
    size: int


class Sample(NamedTuple):
    """An image in a tar file, and its label."""

    image: Member
    label: int | tuple[int, ...]


class _Headers:
    """A file as `tarfile` sees it, which reads only headers here, but any length that one of them states."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._read(size)


def scan(file: IO[bytes], name: str) -> Iterator[Member]:
    """Every plain file of an uncompressed tar file, in order.

    Args:
        file: opened, not a pipe.
        name: for messages.

    Raises:
        DataError: if it is not a tar file, is torn, or damaged where members begin.
    """
    position = -1
    try:
        with tarfile.open(fileobj=cast(IO[bytes], _Headers(file)), mode="r:") as tar:
            while (member := tar.next()) is not None:
                if tar.offset <= position or member.size < 0:  # would go round for ever
                    raise DataError(f"{name} is a damaged tar file: member {member.name!r} has no sound size")
                position = tar.offset
                # The module would keep every member; and goes back to the last one's header for nothing.
                tar.members.clear()  # type: ignore[attr-defined]
                if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None:
                    yield Member(member.name, member.offset_data, member.size)
            end = tar.offset
        # The module takes a damaged header for the end.
        file.seek(end)
        rest = file.read(2 * BLOCK_BYTES)
    except (
        tarfile.TarError,
        OSError,
        ValueError,
        OverflowError,
        EOFError,
        LookupError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} is not a whole tar file: {reason}; write or fetch it again") from None
    if len(rest) < 2 * BLOCK_BYTES or any(rest):
        raise DataError(
            f"{name} is torn or damaged: after {end} bytes comes neither a file nor the end; fetch it again"
        )


def samples(file: IO[bytes], name: str, *, task: Task = "singlelabel") -> list[Sample]:
    """The labelled images of a WebDataset tar file: `KEY.jpg` (or another image) with its class in `KEY.cls`.

    With several labels an image they are a list of class indices in `KEY.json`.

    Raises:
        DataError: if it is not such a tar file.
    """
    images: dict[str, Member] = {}
    labels: dict[str, Member] = {}
    label_suffix = LABEL[task]
    for member in scan(file, name):
        folder, _, base = member.name.rpartition("/")
        key, _, suffix = base.partition(".")  # as WebDataset splits names: at the first dot
        key, suffix = f"{folder}/{key}", suffix.lower()
        table = images if suffix in _KNOWN else labels if suffix == label_suffix else None
        if table is None:
            continue
        if key in table:
            raise DataError(f"{name} has two {suffix} files of the key {key.removeprefix('/')!r}")
        table[key] = member
    if not images:
        raise DataError(f"{name} holds no images; looked for KEY{' KEY'.join(IMAGE_EXTENSIONS)}")
    found = []
    for key, image in images.items():
        if key not in labels:
            raise DataError(
                f"{name}: {image.name} has no label, a file {key.removeprefix('/')}.{label_suffix}"
            )
        if image.size > IMAGE_BYTES.value:
            raise DataError(f"{name}: {image.name} is larger than {IMAGE_BYTES} bytes")
        read = _label if task == "singlelabel" else _labels
        found.append(Sample(image, read(file, labels[key], name)))
    return found


def _label(file: IO[bytes], member: Member, name: str) -> int:
    file.seek(member.offset)
    text = file.read(min(member.size, MAX_LABEL_BYTES))
    if not text.strip().isdigit() or member.size > MAX_LABEL_BYTES:
        raise DataError(f"{name}: {member.name} holds no class index, but {text[:20]!r}")
    return int(text)


def _labels(file: IO[bytes], member: Member, name: str) -> tuple[int, ...]:
    file.seek(member.offset)
    text = file.read(min(member.size, MAX_LABELS_BYTES))
    try:
        values = parse_json_text(text) if member.size <= MAX_LABELS_BYTES else None
    except ValueError:
        values = None
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise DataError(f"{name}: {member.name} holds no list of class indices, but {text[:20]!r}")
    return tuple(values)


def index_tar(
    path: Path,
    *,
    split: Split,
    number: int,
    classes: tuple[str, ...],
    first_id: int = 0,
    names: Sequence[str] | None = None,
    ids: Sequence[int] | None = None,
    shards: dict[str, int] | None = None,
    settings: dict[str, int | None] | None = None,
    task: Task = "singlelabel",
) -> ShardIndex:
    """The index of a tar file, from the file itself.

    Args:
        path: of the tar file.
        split: what it is for.
        number: of this shard in its split.
        classes: class names.
        first_id: of the first image, where `ids` is not given: they are numbered on from it.
        names: of the images in order; None takes their names in the tar file.
        ids: of the images in order.
        shards: number of shards of each split, where known.
        settings: how the images were made.
        task: whether an image has one label or several.

    Raises:
        DataError: if it is not a tar file of labelled images of these classes.
    """
    shown = printable(path)
    try:
        with open_regular(path) as file:
            found = samples(file, shown, task=task)
            hashes = []
            for sample in found:
                file.seek(sample.image.offset)
                hashes.append(hashlib.sha256(file.read(sample.image.size)).hexdigest())
            tar_sha256 = sha256_of(file)
            tar_bytes = file.tell()
    except OSError as error:
        raise DataError(f"{shown} cannot be read ({error.strerror or error})") from None
    for sample in found:
        highest = max(sample.label, default=-1) if isinstance(sample.label, tuple) else sample.label
        if highest >= len(classes):
            raise DataError(f"{shown}: {sample.image.name} is of class {highest}, of {len(classes)} classes")
    return ShardIndex(
        split=split,
        number=number,
        shards=shards or {},
        classes=classes,
        settings=settings or {},
        tar_bytes=tar_bytes,
        tar_sha256=tar_sha256,
        ids=tuple(range(first_id, first_id + len(found)) if ids is None else ids),
        names=tuple([printable(sample.image.name) for sample in found] if names is None else names),
        labels=tuple(sample.label for sample in found),  # type: ignore[arg-type]  # all of one kind
        offsets=tuple(sample.image.offset for sample in found),
        sizes=tuple(sample.image.size for sample in found),
        sha256=tuple(hashes),
    )
