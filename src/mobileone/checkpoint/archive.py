"""The zip archives torch writes, read within bounds that torch itself does not set. Imports no torch."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mobileone.errors import CheckpointError, UnsafeCheckpointError
from mobileone.regular_file import open_regular

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1
MAX_REASON = 120
MAX_NAME = 200
# zipfile raises any of these on damaged bytes.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one stored file lies: `size` bytes from `start`, with their CRC-32."""

    start: int
    size: int
    crc: int


def is_name(text: object) -> bool:
    """Whether a file's text is fit to be a name, in a message too: printable, in one line, not endless."""
    return isinstance(text, str) and text.isprintable() and 0 < len(text) <= MAX_NAME


def describe_error(error: BaseException) -> str:
    """An error in one short line; what is cited from a damaged file may be long and unprintable."""
    first = str(error).strip().partition("\n")[0][:MAX_REASON]
    return "".join(c if c.isprintable() else "?" for c in first) or type(error).__name__


class Archive:
    """A zip of stored (never compressed) entries that do not overlap, under one top folder.

    So whatever is read from it adds up to no more than the file on disk.

    Args:
        path: the file.

    Attributes:
        entries: name without the top folder, to place in the file.

    Raises:
        CheckpointError: if the file cannot be opened, is damaged, or is not an archive of torch's.
        UnsafeCheckpointError: on compressed, encrypted or overlapping entries.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = open_regular(path)
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
        try:
            with zipfile.ZipFile(self._file) as archive:
                self.entries = self._checked(archive.infolist(), end=archive.start_dir)
        except _ZIP_ERRORS as error:
            self.close()
            raise CheckpointError(
                f"cannot read {path}: damaged or incomplete, or no archive of torch's "
                f"({describe_error(error)})"
            ) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, name: str) -> bytearray:
        """The bytes of one entry, their CRC checked.

        Raises:
            CheckpointError: if there is no such entry, or its bytes are damaged.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise CheckpointError(f"cannot read {self.path}: it has no entry {name}")
        content = bytearray(entry.size)
        try:
            self._file.seek(entry.start)
            count = self._file.readinto(content)  # type: ignore[attr-defined]
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {describe_error(error)}") from error
        if count != entry.size or zlib.crc32(content) != entry.crc:
            raise CheckpointError(f"cannot read {self.path}: entry {name} is damaged; fetch the file again")
        return content

    def _checked(self, infos: list[zipfile.ZipInfo], *, end: int) -> dict[str, Entry]:
        top = {info.filename.partition("/")[0] for info in infos}
        if len(top) != 1:
            raise CheckpointError(f"cannot read {self.path}: a zip file, but not one that torch wrote")
        self._refuse_programs({info.filename.partition("/")[2] for info in infos})
        entries: dict[str, Entry] = {}
        free = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            name = info.filename.partition("/")[2]
            if not is_name(name):
                raise CheckpointError(f"cannot read {self.path}: a zip file, but not one that torch wrote")
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise UnsafeCheckpointError(
                    f"refused {self.path}: entry {name} is compressed; torch stores entries as they are, "
                    "and a compressed one can unpack to any size"
                )
            if info.flag_bits & _ENCRYPTED:
                raise UnsafeCheckpointError(f"refused {self.path}: entry {name} is encrypted")
            start = self._data_start(info)
            if info.header_offset < free or start + info.file_size > end or name in entries:
                raise UnsafeCheckpointError(
                    f"refused {self.path}: entry {name} overlaps another or stands twice"
                )
            free = start + info.file_size
            entries[name] = Entry(start, info.file_size, info.CRC)
        return entries

    def _refuse_programs(self, names: set[str]) -> None:
        """Archives of torch's that are no checkpoints: before anything else is said about their entries."""
        if "constants.pkl" in names:
            raise CheckpointError(
                f"cannot read {self.path}: a TorchScript archive, which is code; save the state_dict() of "
                "what torch.jit.load gives instead"
            )
        if "models/model.json" in names or "serialized_exported_program.json" in names:
            raise CheckpointError(
                f"cannot read {self.path}: a program of torch.export, not a checkpoint; what export wrote is "
                "for Predictor, test, predict and bench, with its manifest beside it"
            )

    def _data_start(self, info: zipfile.ZipInfo) -> int:
        self._file.seek(info.header_offset)
        fields = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
        if fields[0] != b"PK\x03\x04":
            raise zipfile.BadZipFile(f"no local header for {info.filename}")
        name_length, extra_length = fields[-2:]
        if self._file.read(name_length) != info.orig_filename.encode("utf-8"):
            raise zipfile.BadZipFile(f"two names for {info.filename}")
        return int(info.header_offset + _LOCAL_HEADER.size + name_length + extra_length)
