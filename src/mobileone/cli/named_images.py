"""The images that a command line names: files, folders and lists of them, shards, data sets of the hub."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mobileone.errors import ConfigError

if TYPE_CHECKING:
    from mobileone.data.hub_dataset import HubImages
    from mobileone.data.shards.shard_source import Shards
    from mobileone.images.decode import EncodedImage

AHEAD = 256
"""Images of shards that are elsewhere, of which is told before they are read."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedImage:
    """An image in shards or in a hub's data set; its text is the address and its name within.

    Attributes:
        source: the shards, or the data set.
        index: of the image.
    """

    source: Shards | HubImages
    index: int

    def __str__(self) -> str:
        return self.source.name(self.index)

    def read(self) -> EncodedImage:
        """Its content.

        Raises:
            DataError: if its shard cannot be read, or what the hub's library keeps of it.
        """
        return self.source.read(self.index)

    def expect(self) -> None:
        """Let what is elsewhere be fetched, of this image and the next ones."""
        from mobileone.data.source import StreamedSource

        if isinstance(self.source, StreamedSource):
            self.source.expect(range(self.index, min(self.index + AHEAD, len(self.source))))


ListedImage: TypeAlias = "str | PackedImage"


def list_images(given: Iterable[str]) -> list[ListedImage]:
    """Image files, all images below the folders, of the lists, in the shards and in the hub's data sets.

    Raises:
        ConfigError: if nothing was given.
        DataError: if a folder has no images, a list cannot be read, or a shard is missing or damaged.
    """
    images: list[ListedImage] = []
    for each in given:
        images += [each] if _is_plain(each) else _expanded(each)
    if not images:
        raise ConfigError("predict needs at least one image file, folder, list or shard after MODEL")
    return images


def _is_plain(word: str) -> bool:
    """Whether it can be a file's name alone, with nothing to be loaded in order to tell."""
    return not (
        os.path.isdir(word)
        or ".tar" in word
        or word.startswith("hf:")
        or word.lower().endswith((".csv", ".json", ".jsonl"))
    )


def _expanded(word: str) -> Sequence[ListedImage]:
    from mobileone.data.named_files import named_files

    if word.startswith("hf:") and not os.path.exists(word):
        return _on_hub(word)
    files = named_files(word, on_note=lambda note: print(note, file=sys.stderr))
    if files is not None:
        return files
    from mobileone.data.shards.shard_source import open_shards

    source = open_shards(word, split="val")
    return [PackedImage(source, index) for index in range(len(source))]


def _on_hub(address: str) -> list[PackedImage]:
    from mobileone.data.hub_dataset import open_hub_images

    source = open_hub_images(address)
    for note in source.notes:
        print(note, file=sys.stderr)
    return [PackedImage(source, index) for index in range(len(source))]


def opened(images: Iterable[ListedImage]) -> Iterator[str | EncodedImage]:
    """Each as the predictor takes it; those in shards are read in their turn."""
    for number, image in enumerate(images):
        if isinstance(image, str):
            yield image
            continue
        if number % (AHEAD // 2) == 0:
            image.expect()
        yield image.read()


def still_there(image: ListedImage) -> bool:
    """Whether it can be looked at again."""
    return not isinstance(image, str) or os.path.exists(image)
