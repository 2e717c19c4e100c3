"""Benchmark networks and artifacts on this machine."""

from __future__ import annotations

import os
import platform
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mobileone import __version__
from mobileone.backends.table import Precision, find_backend
from mobileone.benchmarking.baselines import baselines_on
from mobileone.benchmarking.bench_accuracy import Evaluation
from mobileone.benchmarking.bench_images import InputFiles
from mobileone.benchmarking.bench_result import (
    Accuracy,
    BenchProtocol,
    BenchResult,
    BenchRow,
    Recommendation,
    group,
)
from mobileone.benchmarking.candidate import Candidate
from mobileone.benchmarking.candidate_builder import (
    CandidateBuilder,
    CandidateGrid,
    Quantizer,
    choose_backends,
)
from mobileone.benchmarking.card import Card, find_card
from mobileone.benchmarking.ceilings import Ceilings, can_measure_ceilings, measure_ceilings
from mobileone.benchmarking.floor import Floor, NetworkShapes
from mobileone.benchmarking.measure import WAKE_S, WARMUP_RUNS, MeasurementPlan, measure
from mobileone.benchmarking.noise import Noise
from mobileone.benchmarking.recommendation import recommend
from mobileone.benchmarking.subject import BenchSubject, read_subjects
from mobileone.benchmarking.turns import ROUNDS
from mobileone.errors import ConfigError
from mobileone.input_spec import Size, sides, size_text
from mobileone.processor import num_cores, processor_name, usable_cores

if TYPE_CHECKING:
    from mobileone.model.network import MobileOne


def bench(
    *models: str | os.PathLike[str] | MobileOne,
    backends: Sequence[str] = ("all",),
    precisions: Sequence[Precision] = ("fp32",),
    threads: Sequence[int] = (1,),
    batch_sizes: Sequence[int] = (1,),
    input_size: Size | None = None,
    class_names: Sequence[str] | None = None,
    eval_data: str | os.PathLike[str] | None = None,
    eval_images: int = 1000,
    tolerance: float = 1.0,
    runs: int = 200,
    budget_s: float = 10.0,
    baselines: Sequence[str] | None = None,
    device: str = "cpu",
    quantize: Quantizer | None = None,
    weights_key: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> BenchResult:
    """Measure networks in every runtime, side by side, on this machine's processor or GPU; say which to use.

    Every combination of backend, precision, threads and batch size runs in a process of its own, pinned to as
    many cores as it has threads; they take turns in a seeded random order, and only one works at a time. A
    combination that cannot run becomes a row with the reason.

    Args:
        models: networks (anything `load_model` takes, or a module), which are fused and exported for every
            backend; or the files of finished artifacts, which run as they are.
        backends: names of formats (`onnx`, `openvino`, …), or `("all",)` for every installed one.
        precisions: arithmetic to try: `fp32`, `fp16`, `bf16`, `int8`. An artifact that has none of them runs
            in its own.
        threads: numbers of threads.
        batch_sizes: images a run.
        input_size: of networks: side of a square, or (height, width), pixels; None is their own.
        class_names: one an output, in their order; None is the models' own.
        eval_data: where accuracy comes from: a data folder with class folders or `digits` (top-1), a flat
            folder of images (agreement with PyTorch in float alone); None measures none.
        eval_images: more images are left out, by a seeded draw.
        tolerance: points of top-1 (of agreement, without labels) that a recommended candidate may lose.
        runs: timed runs of each candidate at batch 1.
        budget_s: seconds that a candidate's timed runs may take at larger batches.
        baselines: forms of PyTorch to measure with each network, of `BASELINES`; None is all that the device
            has.
        device: `"cpu"`, `"cuda"` or `"cuda:1"`: on a GPU PyTorch, and artifacts in runtimes that go there, by
            every way that they have.
        quantize: makes int8 artifacts of a network; without it int8 is for finished artifacts.
        weights_key: which weights of checkpoints that have several, as of `load_model`.
        seed: of the order, the input and the draw.
        progress: whether to show bars on stderr.

    Returns:
        The result: `bench_report` of it is tables and recommendation, `to_dict()` for every timed run.

    Raises:
        ConfigError: on arguments that make no sense, or a GPU that is not here, before anything is measured.
        MissingExtraError: if a backend that was named is not installed.
        CheckpointError, ArtifactError: if a model cannot be read.
        DataError: if the evaluation's images are not there or do not fit.

    Example:
        result = bench("mobileone_s0", backends=("onnx", "openvino"), threads=(1, 2))
        print(result.recommendations[0])
    """
    card = find_card(device)
    device = "cpu" if card is None else card.device
    baselines = baselines_on(device) if baselines is None else baselines
    cores = _check(
        precisions=precisions,
        threads=threads,
        batch_sizes=batch_sizes,
        runs=runs,
        budget_s=budget_s,
        eval_images=eval_images,
        tolerance=tolerance,
        baselines=baselines,
        device=device,
    )
    choose_backends(backends, for_networks=False)  # names first, for reading networks takes a while
    subjects = read_subjects(models, input_size=input_size, class_names=class_names, weights_key=weights_key)
    formats, notes = choose_backends(
        backends,
        for_networks=any(subject.artifact is None for subject in subjects),
        on_gpu=card is not None,
    )
    measured = threads if card is None and can_measure_ceilings() else ()
    if card is not None:
        notes.append("no ceilings, and no floors: they are the processor's")
    elif not measured:
        notes.append("no ceilings of this machine, and no floors: PyTorch, which measures them, is not here")
    grid = CandidateGrid(
        backends=formats,
        precisions=precisions,
        threads=threads,
        batch_sizes=batch_sizes,
        baselines=baselines,
        device=device,
    )
    noise = Noise(cores)
    with tempfile.TemporaryDirectory(prefix="mobileone-bench-") as name:
        workspace = Path(name)
        evaluation = Evaluation.of(
            subjects, eval_data, most=eval_images, seed=seed, workspace=workspace, progress=progress
        )
        files = InputFiles(workspace, seed=seed)
        builder = CandidateBuilder(
            grid, workspace, files, pixels=evaluation.pixels, quantize=quantize, progress=progress
        )
        plan = MeasurementPlan(
            runs=runs,
            budget_s=budget_s,
            seed=seed,
            cores=cores,
            workspace=workspace,
            labels=evaluation.photos.labels if evaluation.photos else None,
            progress=progress,
            card=card,
        )
        candidates = builder.candidates(subjects)
        # Ceilings are measured on either side of the candidates: a disturbance seldom lasts through both.
        before = [measure_ceilings(cores[-number:]) for number in measured]
        rows = measure(candidates, plan, noise, reference=evaluation.logits.get)
        after = [measure_ceilings(cores[-number:]) for number in measured]
        reference = evaluation.accuracy()
    ceilings = [first.best(second) for first, second in zip(before, after, strict=True)]
    rows = _ordered(_with_floors(candidates, rows, ceilings))
    flags = "" if input_size is None else f" --input-size {size_text(input_size)}"
    flags += "" if weights_key is None else f" --weights-key {shlex.quote(weights_key)}"
    evaluated = evaluation.photos is not None
    return BenchResult(
        rows=tuple(rows),
        recommendations=_recommendations(
            rows, subjects, reference, flags, tolerance=tolerance, evaluated=evaluated
        ),
        ceilings=tuple(ceilings),
        noise=noise,
        protocol=_protocol(rows, subjects, runs=runs, budget_s=budget_s, seed=seed, notes=notes, card=card),
        eval_data=evaluation.photos.title if evaluation.photos else None,
        tolerance=tolerance,
        reference=reference,
    )


def _recommendations(
    rows: Sequence[BenchRow],
    subjects: Sequence[BenchSubject],
    reference: Mapping[str, Accuracy],
    flags: str,
    *,
    tolerance: float,
    evaluated: bool,
) -> tuple[Recommendation, ...]:
    """One for each network and batch size, with the command that writes what it runs."""
    sources = {subject.network: subject.source for subject in subjects if subject.model is not None}
    recommendations = []
    for network, batch_size, own in group(rows):
        found = recommend(own, reference.get(network), tolerance=tolerance, evaluated=evaluated)
        if found is None:
            continue
        row, source = found.row, sources.get(network)
        if source and not row.is_baseline and not row.artifact and row.precision != "int8":
            file = f"{Path(source).name.partition('.')[0]}{find_backend(row.backend).suffix}"
            command = f"mobileone export {shlex.quote(source)} -o {shlex.quote(file)}{flags}"
            command += f" --batch-size {batch_size}" if batch_size > 1 else ""
            found = replace(found, command=command)
        recommendations.append(found)
    return tuple(recommendations)


def _check(
    *,
    precisions: Sequence[str],
    threads: Sequence[int],
    batch_sizes: Sequence[int],
    runs: int,
    budget_s: float,
    eval_images: int,
    tolerance: float,
    baselines: Sequence[str],
    device: str,
) -> list[int]:
    """The cores that may be used.

    Raises:
        ConfigError: on an argument that makes no sense.
    """
    cores = usable_cores()
    for what, values in (("precisions", precisions), ("threads", threads), ("batch sizes", batch_sizes)):
        if not values or len(set(values)) != len(values):
            raise ConfigError(f"{what} must be one or more different values, got {list(values)}")
    for what, chosen, known in (
        ("precisions", precisions, get_args(Precision)),
        ("baselines", baselines, baselines_on(device)),
    ):
        if unknown := [value for value in chosen if value not in known]:
            raise ConfigError(f"{what} must be among {', '.join(known)}; got {unknown[0]!r}")
    for number in threads:
        if not 1 <= number <= len(cores):
            raise ConfigError(f"threads must be 1 to {len(cores)}, the cores of this machine, got {number}")
    for what, least, value in (
        ("batch sizes", 1, min(batch_sizes)),
        ("runs", 1, runs),
        ("eval images", 1, eval_images),
    ):
        if value < least:
            raise ConfigError(f"{what} must be at least {least}, got {value}")
    if not budget_s > 0 or not tolerance >= 0:
        raise ConfigError(
            f"the time budget must be above 0 s and the tolerance at least 0, got {budget_s} and {tolerance}"
        )
    return cores


def _with_floors(
    candidates: Sequence[Candidate], rows: Sequence[BenchRow], ceilings: Sequence[Ceilings]
) -> list[BenchRow]:
    """The rows with the floor of their shapes, precision, threads and batch, where all are known."""
    by_threads = {each.threads: each for each in ceilings}

    def floor_of(row: BenchRow, shapes: NetworkShapes | None) -> Floor | None:
        if row.latency is None or shapes is None or row.threads not in by_threads:
            return None
        machine = by_threads[row.threads].machine(row.precision)
        return shapes.floor(machine, batch_size=row.batch_size, precision=row.precision)

    return [
        replace(row, floor=floor_of(row, candidate.shapes))
        for candidate, row in zip(candidates, rows, strict=True)
    ]


def _ordered(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Networks and batch sizes as they came, fastest first, what did not run last."""
    found = []
    for _, _, own in group(rows):
        found += sorted(own, key=lambda row: row.latency.median_ms if row.latency else float("inf"))
    return found


def _protocol(
    rows: Sequence[BenchRow],
    subjects: Sequence[BenchSubject],
    *,
    runs: int,
    budget_s: float,
    seed: int,
    notes: Sequence[str],
    card: Card | None,
) -> BenchProtocol:
    inputs = []
    for subject in subjects:
        (height, width), file = sides(subject.input_spec.size), subject.artifact
        name = subject.network if file is None else f"{subject.network} ({file.name})"
        inputs.append(f"{name}: seeded noise, {height}×{width}")
    return BenchProtocol(
        processor=processor_name(),
        cores=num_cores(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        runtimes=tuple(sorted({row.runtime for row in rows if row.runtime})),
        versions={"mobileone": __version__, "python": platform.python_version()},
        input="; ".join(inputs),
        runs=runs,
        budget_s=budget_s,
        rounds=ROUNDS,
        warmup_runs=WARMUP_RUNS,
        wake_s=WAKE_S,
        seed=seed,
        pinned=hasattr(os, "sched_setaffinity"),
        notes=tuple(notes),
        date=date.today().isoformat(),
        accelerator=None if card is None else str(card),
    )
