"""Resizing with antialiasing, to the byte as Pillow resizes: in C where it is to be had, a sixth of the time.

The wheels bring resample.c compiled for some systems. Elsewhere this machine's compiler makes a library of it
once resizing has cost a process a tenth of a second, and the cache keeps it. Where there is no compiler,
Pillow resizes.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mobileone.c_compiler import compiled_library, library_path, this_system
from mobileone.errors import MissingExtraError, MobileOneError, MobileOneWarning
from mobileone.images.resample_library import SOURCE, brought_path, own_command
from mobileone.input_spec import Interpolation

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""
Resample = Callable[[Pixels, tuple[int, int], Interpolation, Box], Pixels]

COMPILE_AFTER = 20_000_000
"""Pixels, read and written: compiling takes five times as long, and may be for nothing."""
FILTERS: dict[Interpolation, PIL.Image.Resampling] = {
    "bilinear": PIL.Image.Resampling.BILINEAR,
    "bicubic": PIL.Image.Resampling.BICUBIC,
}


def resample(pixels: Pixels, size: tuple[int, int], *, interpolation: Interpolation, box: Box) -> Pixels:
    """A part of a picture, resized.

    Args:
        pixels: uint8 (H, W, 3).
        size: of the result, (height, width), pixels.
        interpolation: filter.
        box: the part, within the picture.

    Returns:
        uint8 (*size, 3), its own memory.

    >>> black = np.zeros((10, 20, 3), dtype=np.uint8)
    >>> resample(black, (4, 4), interpolation="bilinear", box=(5, 0, 15, 10)).shape
    (4, 4, 3)
    """
    cost = int((box[2] - box[0]) * (box[3] - box[1])) + size[0] * size[1]
    return _resampler.choose(cost)(pixels, size, interpolation, box)


def by_pillow(pixels: Pixels, size: tuple[int, int], interpolation: Interpolation, box: Box) -> Pixels:
    """What defines the result."""
    resized = PIL.Image.fromarray(pixels).resize(size[::-1], FILTERS[interpolation], box)
    return np.array(resized)


class Library:
    """The compiled resample.c.

    Args:
        path: the shared library.

    Raises:
        OSError: if it cannot be loaded, or this processor lacks instructions that it needs.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        if not library.runs_here():
            raise OSError(f"{path} needs another processor")
        address, number = ctypes.c_void_p, ctypes.c_int
        self._resample = library.resample
        self._resample.argtypes = [address, number, number, address, *(number,) * 4, address]
        self._tall_first = goes_down_first()

    def __call__(
        self, pixels: Pixels, size: tuple[int, int], interpolation: Interpolation, box: Box
    ) -> Pixels:
        pixels = np.ascontiguousarray(pixels)
        height, width = pixels.shape[:2]
        result = np.empty((*size, 3), np.uint8)
        failed = self._resample(
            pixels.ctypes.data,
            height,
            width,
            (ctypes.c_float * 4)(*box),
            interpolation == "bicubic",
            self._tall_first,
            *size,
            result.ctypes.data,
        )
        if failed:
            raise MemoryError(f"resizing {width}×{height} pixels: out of memory")
        return result


@functools.cache
def goes_down_first() -> bool:
    """Whether this Pillow resizes tall pictures downwards first, as version 13 began to, not across first.

    Bytes between the passes are rounded, so now and then a grey level depends on it.
    """
    tall = PIL.Image.fromarray(_noise(160, 20))
    bilinear = PIL.Image.Resampling.BILINEAR
    across_first = tall.resize((10, 160), bilinear).resize((10, 40), bilinear)
    return tall.resize((10, 40), bilinear).tobytes() != across_first.tobytes()


def _noise(height: int, width: int) -> Pixels:
    numbers = np.arange(height * width * 3, dtype=np.uint32)
    return (numbers**2 * 7919 >> 7).astype(np.uint8).reshape(height, width, 3)


def agreeing(path: Path) -> Library | None:
    """The library, if it can be loaded here and resizes a picture as Pillow does.

    Warns:
        MobileOneWarning: if it does not: its compiler, or this Pillow, computes something else.
    """
    try:
        library = Library(path)
    except OSError:  # of another C library or processor
        return None
    noise = _noise(23, 31)
    for interpolation in FILTERS:
        for size in ((7, 9), (40, 35), (3, 29)):
            given = noise, size, interpolation, (0.3, 1.7, 29.2, 23.0)
            if not np.array_equal(library(*given), by_pillow(*given)):
                warnings.warn(
                    f"Pillow resizes, which is slower: {path} does not do as Pillow {PIL.__version__} does",
                    MobileOneWarning,
                    stacklevel=2,
                )
                return None
    return library


class Resampler:
    """What resizes: Pillow, until a library is there.

    Args:
        compile_after: pixels, read and written, after which one is compiled.
        brought: the wheel's library, which need not exist.
    """

    def __init__(self, *, compile_after: int = COMPILE_AFTER, brought: Path | None = None) -> None:
        self._after, self._brought = compile_after, brought
        self._chosen: Resample | None = None
        self._lock, self._cost = threading.Lock(), 0

    def choose(self, cost: int) -> Resample:
        """What shall resize so many pixels."""
        if self._chosen is not None:
            return self._chosen
        if not self._lock.acquire(blocking=False):  # another thread is at it, and the bytes are the same
            return by_pillow
        try:
            first, self._cost = not self._cost, self._cost + cost
            if first:
                self._chosen = self._found()
            elif self._cost >= self._after:
                self._chosen = self._compiled() or by_pillow
            return self._chosen or by_pillow
        finally:
            self._lock.release()

    def _found(self) -> Library | None:
        """The wheel's, or the cache's."""
        if self._brought and self._brought.exists() and (library := agreeing(self._brought)):
            return library
        try:
            kept = library_path(SOURCE, own_command())
            return agreeing(kept) if kept.exists() else None
        except (MobileOneError, OSError):  # no compiler, a cache that is closed to us, no home
            return None

    def _compiled(self) -> Library | None:
        try:
            return agreeing(compiled_library(SOURCE, own_command()))
        except MissingExtraError:  # no compiler: nothing is wrong with that
            return None
        except (MobileOneError, OSError) as error:
            warnings.warn(f"Pillow resizes, which is slower: {error}", MobileOneWarning, stacklevel=2)
            return None


_resampler = Resampler(brought=brought_path(this_system()))
