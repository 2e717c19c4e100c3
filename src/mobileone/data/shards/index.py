"""What is in a shard, and where: a JSON file beside the tar, `train-000003.json` beside `train-000003.tar`.

With it, any image of a tar file can be read without the ones before it, and a run knows how many images there
are before it has read one.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from mobileone.data.layout import Split
from mobileone.errors import DataError
from mobileone.limits import CLASSES, IMAGE_BYTES, SHARDS
from mobileone.regular_file import parse_json_text
from mobileone.task import Task

FORMAT = "mobileone-shard-1"
BLOCK_BYTES = 512  # of a tar file: an image is at least one header into it
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """A shard's table of contents.

    Attributes:
        split: what its images are for.
        number: of this shard in its split, 0 for the first.
        shards: number of shards of each split of the data set; empty where that is not known.
        classes: class names, which the labels index into.
        settings: how the images were made from the originals.
        tar_bytes: size of the tar file.
        tar_sha256: hash of the tar file, hexadecimal.
        ids: position of every image in the sorted data set it comes from, unique over the split.
        names: what reports call the images: the original paths, below the split's folder.
        labels: class indices; with several labels an image those that it has, rising.
        offsets: of the images' bytes in the tar file.
        sizes: of the images, bytes.
        sha256: hashes of the images, hexadecimal.

    Raises:
        DataError: if the values cannot be, in words that go after the file's name.
    """

    split: Split
    number: int
    shards: dict[str, int]
    classes: tuple[str, ...]
    settings: dict[str, int | None]
    tar_bytes: int
    tar_sha256: str
    ids: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...] | tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    sha256: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.split not in ("train", "val"):
            raise DataError(f"split is {self.split!r}, not train or val")
        counts = [self.number, self.tar_bytes, *self.shards.values()]
        if not all(_is_count(value) for value in counts) or not set(self.shards) <= {"train", "val"}:
            raise DataError("number, tar_bytes and shards must be whole numbers, 0 or more")
        if sum(self.shards.values()) > SHARDS.value:
            raise DataError(f"it is one of more shards than {SHARDS}")
        if len(self.classes) > CLASSES.value:
            raise DataError(f"it names {len(self.classes)} classes, over the limit of {CLASSES}")
        if self.shards and self.number >= self.shards.get(self.split, 0):
            raise DataError(f"it is number {self.number} of {self.shards.get(self.split, 0)} shards")
        for name in ("ids", "offsets", "sizes"):
            if not all(_is_count(value) for value in getattr(self, name)):
                raise DataError(f"{name} must be whole numbers, 0 or more")
        self._check_labels()
        for name in ("classes", "names", "sha256"):
            if not all(isinstance(value, str) for value in getattr(self, name)):
                raise DataError(f"{name} must be texts")
        columns = (self.names, self.labels, self.offsets, self.sizes, self.sha256)
        if {len(column) for column in columns} != {len(self.ids)}:
            raise DataError("its columns differ in length")
        if len(set(self.ids)) != len(self.ids) or len(set(self.classes)) != len(self.classes):
            raise DataError("ids and classes must be unique")
        places = zip(self.offsets, self.sizes, strict=True)
        if any(start < BLOCK_BYTES or start + size > self.tar_bytes for start, size in places):
            raise DataError(f"an image lies outside of the tar file's {self.tar_bytes} bytes")
        most = IMAGE_BYTES.value
        if any(size > most for size in self.sizes):
            raise DataError(f"an image is larger than {IMAGE_BYTES} bytes")
        if not all(_SHA256.fullmatch(text) for text in (self.tar_sha256, *self.sha256)):
            raise DataError("hashes must be SHA-256 in 64 hexadecimal digits")

    def _check_labels(self) -> None:
        several = [label for label in self.labels if isinstance(label, tuple)]
        if several and len(several) != len(self.labels):
            raise DataError("labels must be one an image, or several of all")
        flat = [k for each in self.labels for k in (each if isinstance(each, tuple) else (each,))]
        if not all(_is_count(label) for label in flat):
            raise DataError("labels must be whole numbers, 0 or more")
        if any(label >= len(self.classes) for label in flat):
            raise DataError(f"labels must be below {len(self.classes)}, the number of classes")
        if any(list(each) != sorted(set(each)) for each in several):
            raise DataError("labels of an image must rise")

    @property
    def task(self) -> Task:
        """Whether an image has one label or several."""
        return "multilabel" if self.labels and isinstance(self.labels[0], tuple) else "singlelabel"

    def __len__(self) -> int:
        return len(self.ids)

    def to_json(self) -> str:
        """As text, the same for the same index."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=True, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str) -> ShardIndex:
        """The way back.

        Args:
            text: of the index file.
            name: of the file, for messages.

        Raises:
            DataError: if it is not an index, or a damaged one.
        """
        try:
            values: dict[str, Any] = parse_json_text(text)
            if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
                raise DataError(f"it is not in the format {FORMAT}")
            for key, value in values.items():
                if isinstance(value, list):
                    values[key] = tuple(tuple(each) if isinstance(each, list) else each for each in value)
            return cls(**values)
        except DataError as error:
            raise DataError(f"{name} is not a shard's index: {error}; {_REMEDY}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{name} is not a shard's index ({_short(error)}); {_REMEDY}") from None


_REMEDY = "fetch it again, or write it with `mobileone shard --index`"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
