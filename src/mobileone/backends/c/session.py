"""Run .c files: compiled once by the machine's own compiler, kept in the cache, called through ctypes."""

from __future__ import annotations

import ctypes
import os
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mobileone.backends.c.symbols import CSymbols
from mobileone.backends.manifest import Manifest
from mobileone.backends.session import Array, as_features, as_logits
from mobileone.backends.table import Precision
from mobileone.c_compiler import FLAGS, compiled_library, find_compiler
from mobileone.decision import Doubt
from mobileone.errors import ArtifactError

ALIGNMENT = 64
MOST_THREADS = 64
DOUBTS: tuple[Doubt | None, ...] = (None, "unlikely", "novel")


class CNetwork:
    """A compiled network: its library, one workspace, and a team of threads where there are several.

    Args:
        library: the shared library, compiled with threads.
        prefix: of its functions.
        threads: that compute one image, 1 to 64.

    Attributes:
        shape: of an image, (height, width, channels).
        num_outputs: length of the logits.
        map_shape: of the last feature map, (height, width, channels).

    Raises:
        ArtifactError: if the library has no such functions, or threads cannot be started.
    """

    def __init__(self, library: Path, prefix: str, *, threads: int = 1) -> None:
        self._library, self.prefix = ctypes.CDLL(str(library)), prefix
        try:
            self._declare()
        except AttributeError as error:
            raise ArtifactError(f"{library} is no network of prefix {prefix!r}: {error}") from error
        self.threads = min(threads, MOST_THREADS)
        self.shape = tuple(self._function(name)() for name in ("height", "width", "channels"))
        self.num_outputs: int = self._function("num_outputs")()
        names = ("map_height", "map_width", "num_features")
        self.map_shape = tuple(self._function(name)() for name in names)
        self._bytes: int = self._function("workspace_for")(self.threads)
        self._block = ctypes.create_string_buffer(self._bytes + ALIGNMENT)
        address = ctypes.addressof(self._block)
        self._workspace = address + -address % ALIGNMENT
        self._lock = threading.Lock()
        self._run = self._function("run_parallel")
        self._team: int | None = None
        if self.threads > 1:
            self._team = self._function("threads_start")(self.threads)
            if not self._team:
                raise ArtifactError(f"{self.threads} threads cannot be started")
            weakref.finalize(self, _stop, self._function("threads_stop"), self._team, os.getpid())

    def _function(self, name: str) -> ctypes._FuncPointer:
        return getattr(self._library, f"{self.prefix}_{name}")  # type: ignore[no-any-return]

    def _declare(self) -> None:
        """Types of what ctypes would take for int."""
        for name in ("error_text", "version", "class_name", "kernels", "chosen_kernels"):
            self._function(name).restype = ctypes.c_char_p
        for name in ("workspace", "workspace_for"):
            self._function(name).restype = ctypes.c_size_t
        self._function("threads_start").restype = ctypes.c_void_p
        self._function("threads_stop").argtypes = [ctypes.c_void_p]
        self._function("use_kernels").argtypes = [ctypes.c_char_p]
        self._function("threshold").restype = ctypes.c_double
        address, size = ctypes.c_void_p, ctypes.c_size_t
        self._function("decide").argtypes = [address] * 4
        self._function("run").argtypes = [address, address, address]
        self._function("features").argtypes = [address, address]
        self._function("class_map").argtypes = [address, ctypes.c_int, address]
        self._function("run_parallel").argtypes = [
            address,
            address,
            address,
            size,
            ctypes.c_int,
            address,
            address,
        ]

    def logits(self, images: Array) -> Array:
        """Logits, float32 (N, outputs), of uint8 (N, height, width, channels).

        Raises:
            ArtifactError: if images have another shape, or the library refuses.
        """
        return self._logits(images, lambda _: None)

    def features(self, images: Array) -> Array:
        """The last feature map, float32 (N, height, width, channels), of the same.

        Raises:
            ArtifactError: as `logits`.
        """
        maps = np.empty((len(images), *self.map_shape), np.float32)
        run = self._function("features")
        self._logits(images, lambda n: run(self._workspace, maps[n].ctypes.data))
        return maps

    def class_maps(self, images: Array, classes: Sequence[int]) -> Array:
        """What each place of the image adds to a class's logit, float32 (N, height, width).

        Args:
            images: as of `logits`.
            classes: one an image.

        Raises:
            ArtifactError: as `logits`, or if there is no such class.
        """
        maps = np.empty((len(images), *self.map_shape[:2]), np.float32)
        run = self._function("class_map")
        self._logits(images, lambda n: run(self._workspace, classes[n], maps[n].ctypes.data))
        return maps

    def _logits(self, images: Array, behind: Callable[[int], int | None]) -> Array:
        """Logits; `behind` looks at the workspace after each image."""
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ArtifactError(
                f"the network takes uint8 (N, {', '.join(map(str, self.shape))}), got {images.shape}"
            )
        images = np.ascontiguousarray(images)
        out = np.empty((len(images), self.num_outputs), np.float32)
        pixels, logits, run = images.ctypes.data, out.ctypes.data, self._run
        step, out_step = images[0].nbytes if len(images) else 0, 4 * self.num_outputs
        with self._lock:  # one workspace, one image at a time
            for n in range(len(images)):
                place, to = pixels + n * step, logits + n * out_step
                error = run(place, to, self._workspace, self._bytes, self.threads, None, self._team)
                if error or (error := behind(n)):
                    self._check(error)
        return out

    def decide(self, logits: Array) -> tuple[Array, Array, list[Doubt | None]]:
        """What a row of `logits` each says: probabilities, float64 (N, K), likeliest class (N,), doubts.

        Raises:
            ArtifactError: if the network has no classes.
        """
        logits = np.ascontiguousarray(logits, np.float32)
        probabilities, best = np.empty(logits.shape), np.empty(len(logits), np.intc)
        doubt = np.empty(len(logits), np.intc)
        run = self._function("decide")
        for n in range(len(logits)):
            rows = (each[n : n + 1].ctypes.data for each in (logits, probabilities, best, doubt))
            self._check(run(*rows))
        return probabilities, best, [DOUBTS[code] for code in doubt]

    @property
    def is_calibrated(self) -> bool:
        """Whether the file has a decision."""
        return bool(self._function("is_calibrated")())

    def threshold(self, index: int) -> float:
        """From which probability on a class is sure, or a label given."""
        return float(self._function("threshold")(index))

    def kernels(self) -> list[str]:
        """Names of the sets of kernels in the file, best first."""
        names: list[str] = []
        while name := self._function("kernels")(len(names)):
            names.append(name.decode())
        return names

    @property
    def chosen_kernels(self) -> str | None:
        """Those in use; None before the first image."""
        name: bytes | None = self._function("chosen_kernels")()
        return None if name is None else name.decode()

    def use_kernels(self, name: str) -> None:
        """Take others, for this process.

        Raises:
            ArtifactError: if there are none, the processor cannot run them, or they compute wrongly.
        """
        self._check(self._function("use_kernels")(name.encode()), f"kernels {name}: ")

    def self_test(self) -> None:
        """Let every set of kernels that this processor runs compute what the generator computed.

        Raises:
            ArtifactError: if one computes something else.
        """
        self._check(self._function("self_test")())

    def class_name(self, index: int) -> str | None:
        """A class's name; None where there is none."""
        name: bytes | None = self._function("class_name")(index)
        return None if name is None else name.decode()

    @property
    def version(self) -> str:
        """Of the generator, and what network it is."""
        return str(self._function("version")().decode())

    def _check(self, error: int, what: str = "") -> None:
        if error:
            raise ArtifactError(what + self._function("error_text")(error).decode())


class CSession:
    """A .c file, compiled for this machine."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int, precision: Precision) -> None:
        prefix = prefix_of(path.with_suffix(".h"))
        seen = CSymbols(prefix=prefix).public_flag
        command = [
            *find_compiler(),
            *FLAGS,
            f"-D{prefix.upper()}_THREADS",
            seen,
            "-shared",
            "-fPIC",
            "-pthread",
        ]
        library = compiled_library(path, command, header=path.with_suffix(".h"))
        self.network, self._manifest = CNetwork(library, prefix, threads=threads), manifest
        self.runtime = f"C ({Path(command[0]).name})"
        self.precision = precision

    def run(self, batch: Array) -> Array:
        """Logits of a batch."""
        return as_logits(self.network.logits(batch), self._manifest)

    def features(self, batch: Array) -> list[Array]:
        """Feature maps of a batch."""
        shapes = [each.shape for each in self._manifest.features]
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        values = self.network.logits(batch)
        if values.shape[1] != ends[-1]:
            raise ArtifactError(
                f"the network gives {values.shape[1]} values, its manifest says maps of {shapes}; "
                "quantize again"
            )
        parts = np.split(values, ends[:-1], axis=1)
        return as_features(
            [part.reshape(len(part), *shape) for part, shape in zip(parts, shapes, strict=True)],
            self._manifest,
        )


open = CSession


def _stop(threads_stop: Callable[[int], None], team: int, process: int) -> None:
    """End a team. A forked child has none of its threads, and would wait for ever until they wake."""
    if os.getpid() == process:
        threads_stop(team)


def prefix_of(header: Path) -> str:
    """What the names in a generated header begin with.

    Raises:
        ArtifactError: if it is no such header.
    """
    try:
        found = re.search(
            r"^#ifndef (\w+)_H$.*?\b(\w+)_error_text\(", header.read_text(encoding="utf-8"), re.M | re.S
        )
    except OSError as error:
        raise ArtifactError(
            f"{header} cannot be read: {error.strerror or error}; keep it beside the .c file"
        ) from error
    if found is None or found[1] != found[2].upper():
        raise ArtifactError(f"{header} is no header of a generated network; quantize again")
    return found[2]
