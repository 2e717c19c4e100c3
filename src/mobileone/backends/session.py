"""An exported network, loaded by its own runtime: one protocol for all runtimes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.manifest import Manifest, read_manifest
from mobileone.backends.table import BACKENDS, Precision, load_part
from mobileone.backends.trusted_programs import require_trust
from mobileone.distribution import needing_pytorch
from mobileone.errors import ArtifactError, ConfigError
from mobileone.processor import num_cores

Array = NDArray[Any]


class Session(Protocol):
    """A loaded network; threads may share it.

    Attributes:
        runtime: library and version.
        precision: the arithmetic that really runs, which the runtime may choose apart from the file's.
    """

    runtime: str
    precision: Precision

    def run(self, batch: Array) -> Array:
        """Logits, float32 (N, num_outputs), of a batch as the manifest's `tensor` describes it.

        Any number of threads may call it at a time: a runtime that holds a run's state in the session gives
        each thread its own, or makes one wait for the other. The array belongs to the caller.
        """

    def features(self, batch: Array) -> list[Array]:
        """The same for a network that gives feature maps: these, float32, as the manifest lists them.

        Only where the backend's line in the table has `features`.
        """


class GpuSession(Session, Protocol):
    """A session on a GPU, which can also be timed without its copies to there and back."""

    def resident(self, batch: Array) -> Callable[[], None]:
        """A run of that batch, which lies on the GPU from now on: called, it returns when all is computed.

        The logits stay there.
        """


class SessionModule(Protocol):
    """A module `backends/<name>/session.py`: it runs artifacts."""

    def open(
        self, path: Path, manifest: Manifest, *, threads: int, precision: Precision, **elsewhere: str
    ) -> Session:
        """Load the artifact; any exception means that the runtime cannot.

        `device` is given where it is not the CPU, to backends that have others.
        """


def open_session(
    artifact: str | os.PathLike[str],
    *,
    threads: int | None = None,
    precision: Precision | None = None,
    manifest: Manifest | None = None,
    device: str = "cpu",
) -> Session:
    """Load an artifact in its runtime.

    Args:
        artifact: an exported file, its manifest beside it.
        threads: that the runtime may use; None for all usable cores.
        precision: to execute in. None is the file's, and for weights stored as fp16 the runtime's nearest.
        manifest: the artifact's, where it has been read and checked already.
        device: one of the backend's `devices`, or with a number, `"cuda:1"`.

    Raises:
        ArtifactError: if the artifact is damaged, its runtime refuses it, or it is somebody else's program.
        ConfigError: on a precision or device that the runtime or the file does not have, or threads below 1.
        MissingExtraError: if the runtime is not installed.
    """
    path = Path(artifact)
    manifest = manifest or read_manifest(path)
    kind = BACKENDS[manifest.format]
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    if device.partition(":")[0] not in kind.devices:
        if kind.devices == ("cpu",):
            raise ConfigError(f"{path} runs on the CPU, not on {device}; give no device")
        raise ConfigError(f"{path} runs on {' or '.join(kind.devices)}, got device {device!r}")
    if not kind.executes:
        raise ArtifactError(f"{path} runs in {kind.runtime} only, which is not on this machine")
    able = kind.executes_on(device)
    if manifest.precision == "int8" and "int8" not in able and "int8" in kind.executes:
        raise ConfigError(f"int8 files run on the CPU in {kind.runtime}, got device {device}; give cpu")
    chosen = precision or (manifest.precision if manifest.precision in able else "fp32")
    if chosen not in able or (chosen == "int8") != (manifest.precision == "int8"):
        where = "here" if device == "cpu" else f"on {device}"
        raise ConfigError(
            f"{path} is {manifest.precision} and {kind.runtime} executes {', '.join(able)} {where}; "
            f"it cannot run in {chosen}"
        )
    require_trust(path, manifest)
    module: SessionModule = load_part(kind, "session")
    try:
        with needing_pytorch(f"running {path} in {kind.runtime}"):
            elsewhere = {} if device == "cpu" else {"device": device}
            return module.open(path, manifest, threads=threads or num_cores(), precision=chosen, **elsewhere)
    except (ConfigError, ArtifactError, ImportError):
        raise
    except Exception as error:  # the runtimes' own exceptions have no common base
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ArtifactError(f"{kind.runtime} cannot load {path}: {reason}") from error


def as_logits(array: Any, manifest: Manifest) -> Array:
    """A runtime's output as float32 (N, num_outputs).

    Raises:
        ArtifactError: if it has another shape.
    """
    logits = np.asarray(array, dtype=np.float32)
    if logits.ndim != 2 or logits.shape[1] != manifest.num_outputs:
        raise ArtifactError(
            f"the network gave {logits.shape}, its manifest says (N, {manifest.num_outputs}); export again"
        )
    return logits


def as_features(arrays: Sequence[Any], manifest: Manifest) -> list[Array]:
    """A runtime's outputs as float32 feature maps, in the graph's order of axes.

    Raises:
        ArtifactError: if they are others than the manifest lists.
    """
    maps = [np.asarray(array, dtype=np.float32) for array in arrays]
    got = [each.shape[1:] for each in maps]
    wanted = [each.shape for each in manifest.features]
    if got != wanted:
        raise ArtifactError(f"the network gave maps of {got}, its manifest says {wanted}; export again")
    return maps
