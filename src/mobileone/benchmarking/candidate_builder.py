"""From networks and artifacts to candidates: every backend, precision, number of threads and batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mobileone.backends.manifest import Manifest, read_manifest
from mobileone.backends.table import BACKENDS, Backend, Precision
from mobileone.backends.writer import check_installed
from mobileone.benchmarking.baselines import BASELINES, baseline_precisions
from mobileone.benchmarking.bench_images import InputFiles
from mobileone.benchmarking.candidate import Candidate
from mobileone.benchmarking.subject import BenchSubject
from mobileone.errors import ConfigError, MissingExtraError, MobileOneError
from mobileone.input_spec import InputSpec
from mobileone.progress_bar import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobileone.model.network import MobileOne

SESSION = "mobileone.backends.session:open_session"
BASELINE = "mobileone.benchmarking.baselines:open_baseline"

# Writes a network, quantised, for one backend and batch size; the artifact's file.
Quantizer: TypeAlias = "Callable[[MobileOne, Path, str, int], Path]"


def runnable_backends() -> list[Backend]:
    """Formats that some runtime executes here, installed or not."""
    return [each for each in BACKENDS.values() if each.executes]


def choose_backends(
    names: Sequence[str], *, for_networks: bool = True, on_gpu: bool = False
) -> tuple[list[Backend], list[str]]:
    """The backends of these names, and notes on those that `all` leaves out.

    Args:
        names: of formats; `("all",)` takes every installed one.
        for_networks: whether anything is exported; else none is needed, whatever is installed.
        on_gpu: whether they are to run on a GPU. `all` may then be none: PyTorch is there still.

    Raises:
        ConfigError: on an unknown name, one that runs on the CPU alone where a GPU is meant, or where nothing
            is installed.
        MissingExtraError: if one that was named is not installed.
    """
    known = {each.name: each for each in runnable_backends()}
    everything = tuple(names) == ("all",)
    unknown = [] if everything else [name for name in names if name not in known]
    if unknown or not names:
        raise ConfigError(
            f"backends must be all, or some of {', '.join(known)}; got {', '.join(unknown) or 'none'}"
        )
    if not for_networks:
        return [], []
    chosen, notes = [], []
    if on_gpu:
        elsewhere = [name for name in (known if everything else names) if not known[name].on_gpu]
        known = {name: kind for name, kind in known.items() if kind.on_gpu}
        if elsewhere and not everything:
            run = "runs" if len(elsewhere) == 1 else "run"
            raise ConfigError(
                f"{', '.join(elsewhere)} {run} on the CPU; on a GPU there is {', '.join(known)}"
            )
        notes.append(f"left out, for they run on the CPU: {', '.join(elsewhere)}")
    for name in known if everything else names:
        kind = known[name]
        try:
            check_installed(kind.name)
        except MissingExtraError as error:
            if not everything:
                raise
            notes.append(f"left out: {error}")
        else:
            chosen.append(kind)
    if not chosen and not on_gpu:
        raise ConfigError(f"no backend is installed; {notes[0]}")
    return chosen, notes


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateGrid:
    """The combinations wanted, each attribute one axis."""

    backends: Sequence[Backend]
    precisions: Sequence[Precision]
    threads: Sequence[int]
    batch_sizes: Sequence[int]
    baselines: Sequence[str]
    device: str = "cpu"

    def devices(self, kind: Backend) -> list[str]:
        """Where its sessions run of what is meant: on a GPU there may be several ways."""
        number = self.device.partition(":")[2]
        return ["cpu"] if self.device == "cpu" else [f"{name}:{number}" for name in kind.on_gpu]

    def refused(
        self, network: str, backend: str, precision: str, device: str, batch_size: int, reason: str
    ) -> Candidate:
        """A combination that cannot run whatever the threads, as one row."""
        return Candidate(
            network=network,
            backend=backend,
            precision=precision,
            device=device,
            threads=self.threads[0],
            batch_size=batch_size,
            refusal=" ".join(reason.split()),
        )


class CandidateBuilder:
    """Makes the candidates of a grid.

    Args:
        grid: what to combine.
        workspace: a folder for artifacts and inputs.
        files: writes the inputs.
        pixels: photos to evaluate on, uint8 (N, height, width, 3), by input spec; none without an evaluation.
        quantize: makes int8 artifacts; None where that cannot be had.
        progress: whether to show a bar on stderr.
    """

    def __init__(
        self,
        grid: CandidateGrid,
        workspace: Path,
        files: InputFiles,
        *,
        pixels: Mapping[InputSpec, NDArray[np.uint8]],
        quantize: Quantizer | None,
        progress: bool,
    ) -> None:
        self.grid, self.workspace, self.files, self.pixels = grid, workspace, files, pixels
        self.quantize, self.progress = quantize, progress

    def _photos(self, subject: BenchSubject, manifest: Manifest | None) -> Path | None:
        pixels = self.pixels.get(subject.input_spec)
        return None if pixels is None else self.files.photos(pixels, manifest, subject.input_spec)

    def candidates(self, subjects: Sequence[BenchSubject]) -> list[Candidate]:
        """Every combination of the grid for every subject; one that cannot be made says why."""
        found: list[Candidate] = []
        for number, subject in enumerate(subjects):
            if subject.artifact is not None and subject.manifest is not None:
                own = self._artifact(subject, subject.artifact, subject.manifest)
                found += [replace(candidate, artifact=subject.artifact) for candidate in own]
                continue
            folder = self.workspace / str(number)
            folder.mkdir()
            found += self._baselines(subject, folder)
            combinations = [(kind, size) for kind in self.grid.backends for size in self.grid.batch_sizes]
            title = f"exporting {subject.network}"
            for kind, size in progress_bar(
                combinations, title=title, unit="artifact", hidden=not self.progress
            ):
                found += self._exported(subject, kind, size, folder)
        return found

    def _baselines(self, subject: BenchSubject, folder: Path) -> Iterator[Candidate]:
        model = subject.model
        assert model is not None
        able = baseline_precisions(self.grid.device)
        precisions = [precision for precision in self.grid.precisions if precision in able]
        if not self.grid.baselines or not precisions:
            return
        from mobileone.checkpoint.store import save_model
        from mobileone.reparam.expand import expand

        files = {
            "train": save_model(expand(model), folder / "train.safetensors"),
            "inference": save_model(model, folder / "inference.safetensors"),
        }
        combinations = product(self.grid.baselines, self.grid.batch_sizes, self.grid.threads, precisions)
        for name, batch_size, threads, precision in combinations:
            baseline = BASELINES[name]
            # An empty cache: what a compiler takes is part of its cold start.
            cache = folder / f"compiled-{threads}-{batch_size}-{precision}"
            yield Candidate(
                network=subject.network,
                backend=name,
                precision=precision,
                device=self.grid.device,
                threads=threads,
                batch_size=batch_size,
                opener=BASELINE,
                options={
                    "path": str(files[baseline.form]),
                    "name": name,
                    "threads": threads,
                    "precision": precision,
                    "device": self.grid.device,
                },
                inputs=self.files.noise(None, subject.input_spec, batch_size),
                images=self._photos(subject, None),
                is_baseline=True,
                environment={"TORCHINDUCTOR_CACHE_DIR": str(cache)} if baseline.compiled else {},
                shapes=subject.shapes,
            )

    def _exported(
        self, subject: BenchSubject, kind: Backend, batch_size: int, folder: Path
    ) -> Iterator[Candidate]:
        for device, precision in product(self.grid.devices(kind), self.grid.precisions):
            try:
                path = self._written(subject, kind, precision, device, batch_size, folder)
                manifest = read_manifest(path)
            except MobileOneError as error:
                yield self.grid.refused(subject.network, kind.name, precision, device, batch_size, str(error))
            else:
                yield from self._runs(subject, path, manifest, precision, device, batch_size)

    def _written(
        self,
        subject: BenchSubject,
        kind: Backend,
        precision: Precision,
        device: str,
        batch_size: int,
        folder: Path,
    ) -> Path:
        """The artifact for that backend, precision and batch size; all but int8 share one."""
        assert subject.model is not None
        able = kind.executes_on(device)
        if precision not in able:
            where = "here" if device == "cpu" else f"on {device}"
            raise ConfigError(f"{kind.runtime} executes {', '.join(able)} {where}")
        if precision == "int8":
            if self.quantize is None:
                raise ConfigError(
                    "int8 needs a quantised artifact: make one with calibration images, give it as MODEL"
                )
            return self.quantize(
                subject.model, folder / f"int8-{batch_size}{kind.suffix}", kind.name, batch_size
            )
        path = folder / f"float-{batch_size}{kind.suffix}"
        if not path.exists():
            from mobileone.exporting.export import export

            export(subject.model, path, format=kind.name, batch_size=batch_size, source=subject.source)
        return path

    def _artifact(self, subject: BenchSubject, path: Path, manifest: Manifest) -> Iterator[Candidate]:
        kind = BACKENDS[manifest.format]
        for device in self.grid.devices(kind) or [self.grid.device]:
            executes = kind.executes_on(device)
            own: Precision = manifest.precision if manifest.precision in (*executes, "int8") else "fp32"
            # Weights of float32 can be computed with in less; narrower ones only as they are.
            able = [p for p in executes if p != "int8"] if own == "fp32" else [own]
            wanted = [precision for precision in self.grid.precisions if precision in able] or [own]
            for batch_size, precision in product(self.grid.batch_sizes, wanted):
                try:
                    if own not in executes:
                        where = "here" if device == "cpu" else f"on {device}"
                        raise ConfigError(f"{kind.runtime} does not run {own} {where}")
                    manifest.tensor.shape(batch_size)
                except ConfigError as error:
                    refused = (subject.network, kind.name, precision, device, batch_size)
                    yield self.grid.refused(*refused, str(error))
                else:
                    yield from self._runs(subject, path, manifest, precision, device, batch_size)

    def _runs(
        self,
        subject: BenchSubject,
        path: Path,
        manifest: Manifest,
        precision: Precision,
        device: str,
        batch_size: int,
    ) -> Iterator[Candidate]:
        """One artifact in one precision on one device, for every number of threads."""
        for threads in self.grid.threads:
            yield Candidate(
                network=subject.network,
                backend=manifest.format,
                precision=precision,
                device=device,
                threads=threads,
                batch_size=batch_size,
                opener=SESSION,
                options={
                    "artifact": str(path),
                    "threads": threads,
                    "precision": precision,
                    "device": device,
                },
                inputs=self.files.noise(manifest, subject.input_spec, batch_size),
                images=self._photos(subject, manifest),
                size_bytes=manifest.size_bytes,
                shapes=subject.shapes,
            )
