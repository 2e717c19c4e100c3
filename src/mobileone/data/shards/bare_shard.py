"""A tar file of images that has no index: what is in it is found by reading its headers."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from typing import IO

from mobileone.cache import cache_dir
from mobileone.data.layout import is_image_name, is_seen
from mobileone.data.shards.address import is_remote
from mobileone.data.shards.remote import open_remote, patiently
from mobileone.data.shards.tar import Member, scan
from mobileone.errors import DataError
from mobileone.images.decode import EncodedImage
from mobileone.limits import IMAGE_BYTES
from mobileone.outside_text import printable
from mobileone.regular_file import open_regular


class BareShard:
    """Every image file of a tar file, in its order, labelled or not.

    What is elsewhere is fetched whole into a file without a name in the cache folder, which is gone with this
    object, or with the process.

    Args:
        address: path, URL or pipe of the tar file.

    Raises:
        DataError: if it cannot be read, is torn or no tar file, or holds no images or two of one name.

    Attributes:
        files: names of the images in it.
    """

    def __init__(self, address: str) -> None:
        self._shown = printable(address)
        self._file = _fetched(address) if is_remote(address) else _opened(address)
        found = {}
        for member in scan(self._file, self._shown):
            if not is_image_name(member.name) or not is_seen(os.path.basename(member.name)):
                continue
            if member.name in found:
                raise DataError(f"{self._shown} has two files called {printable(member.name)}")
            if member.size > IMAGE_BYTES.value:
                raise DataError(f"{self._shown}: {printable(member.name)} is larger than {IMAGE_BYTES} bytes")
            found[member.name] = member
        if not found:
            raise DataError(f"{self._shown} holds no images")
        self._members: list[Member] = list(found.values())
        self.files = list(found)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The shard's address and the image's name in it."""
        return f"{self._shown}: {printable(self.files[index])}"

    def read(self, index: int) -> EncodedImage:
        """Content of an image.

        Raises:
            DataError: if the file was cut off since.
        """
        _, offset, size = self._members[index]
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise DataError(f"{self.name(index)}: the shard ends before it; it was changed since the start")
        return EncodedImage(self.name(index), data)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _opened(path: str) -> IO[bytes]:
    try:
        return open_regular(path)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from None


def _fetched(address: str) -> IO[bytes]:
    def fetch(until: float) -> IO[bytes]:
        with ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            with open_remote(address, until=until) as chunks:
                for chunk in chunks:
                    file.write(chunk)
            file.seek(0)  # which writes what is still in the buffer
            stack.pop_all()  # it stays open for its reader
        return file

    folder = cache_dir() / "shards"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return patiently(fetch)
    except OSError as error:
        raise DataError(
            f"cannot keep {printable(address)} in {folder}: {error.strerror or error}; choose another folder "
            "by $MOBILEONE_CACHE"
        ) from None
