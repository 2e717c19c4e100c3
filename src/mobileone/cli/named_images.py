"""The images that a command line names: files, folders of them, shards, data sets of the hub."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mobileone.errors import ConfigError
from mobileone.outside_text import printable

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
    """Image files, every image below the folders among them, in the shards and in the hub's data sets.

    Raises:
        ConfigError: if nothing was given.
        DataError: if a folder has no images, or a shard is missing or damaged.
    """
    images: list[ListedImage] = []
    for each in given:
        if each.startswith("hf:") and not os.path.exists(each):
            images += _on_hub(each)
        elif os.path.isdir(each):
            images += _below(each)
        elif ".tar" in each and not each.endswith(".tar/"):
            images += _packed(each)
        else:
            images.append(each)
    if not images:
        raise ConfigError("predict needs at least one image file, folder or shard after MODEL")
    return images


def _below(folder: str) -> list[str]:
    from mobileone.data.folder import image_files
    from mobileone.data.layout import find_files, ignored_text

    found = find_files(folder)
    if not found.images and any(Path(folder).glob("*.tar")):
        raise ConfigError(
            f"{printable(folder)} holds shards; name those that are meant, such as "
            f"{printable(folder)}/val-{{000000..000007}}.tar"
        )
    if ignored := ignored_text(found.ignored):
        print(f"{printable(folder)}: {ignored}", file=sys.stderr)
    return list(map(str, image_files(folder)))


def _packed(address: str) -> list[PackedImage] | list[str]:
    from mobileone.data.shards.address import is_shards
    from mobileone.data.shards.shard_source import open_shards

    if not is_shards(address):
        return [address]
    source = open_shards(address, split="val")
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
