"""Cross-validation: a run a fold, and what they come to together."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileone.atomic import atomic_path
from mobileone.errors import ConfigError, TrainingError
from mobileone.evaluation.metric_names import METRICS, title_of
from mobileone.report.aligned_table import aligned_table
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.run.run_dir import Resume, RunDir
from mobileone.training.run.run_report import best_row, epoch_rows
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import FitResult, column_of

TABLE_NAME = "folds.csv"


def fold_dir(run_dir: str | Path, fold: int) -> Path:
    """Where a fold's run is.

    >>> fold_dir("runs/mine", 2).as_posix()
    'runs/mine/fold-2'
    """
    return Path(run_dir) / f"fold-{fold}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSummary:
    """Figures of the best epochs of the folds that are there.

    Attributes:
        folds: into how many the set was divided.
        figures: percent, by name, of every finished fold: fold to name to value.
        epochs: the best epoch of each.
        path: folds.csv.
    """

    folds: int
    figures: dict[int, dict[str, float]]
    epochs: dict[int, int]
    path: Path

    @property
    def mean(self) -> dict[str, float]:
        """Over the folds, by name."""
        return {name: statistics.fmean(values) for name, values in self._columns().items()}

    @property
    def deviation(self) -> dict[str, float | None]:
        """Standard deviation over the folds (n − 1), by name; None of a single one."""
        return {
            name: statistics.stdev(values) if len(values) > 1 else None
            for name, values in self._columns().items()
        }

    def _columns(self) -> dict[str, list[float]]:
        names = next(iter(self.figures.values()))
        return {name: [each[name] for each in self.figures.values()] for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "folds": self.folds,
            "figures": {str(fold): values for fold, values in self.figures.items()},
            "best_epochs": {str(fold): epoch for fold, epoch in self.epochs.items()},
            "mean": self.mean,
            "deviation": self.deviation,
            "path": str(self.path),
        }

    def rows(self) -> list[list[str]]:
        """A line a fold, then their mean and deviation, under `header`."""
        lines = [
            [
                f"{fold} of {self.folds}",
                str(self.epochs[fold]),
                *(f"{value:.2f}" for value in values.values()),
            ]
            for fold, values in self.figures.items()
        ]
        lines.append(["mean", "", *(f"{value:.2f}" for value in self.mean.values())])
        spread = ["" if value is None else f"{value:.2f}" for value in self.deviation.values()]
        return [*lines, ["deviation", "", *spread]]

    def header(self) -> list[str]:
        """Of `rows`."""
        return ["fold", "best epoch", *map(title_of, self.mean)]

    def __str__(self) -> str:
        return aligned_table(self.header(), self.rows())


def fit_folds(
    config: TrainConfig,
    *,
    run_dir: str | Path,
    resume: Resume = False,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> tuple[list[FitResult], FoldSummary]:
    """Train once a fold, each time with another part of the images held out; no image is held out twice.

    Args:
        config: with `hold_out.folds`; `hold_out.fold` must be 0.
        run_dir: the folder for fold-1, fold-2, … and folds.csv.
        resume: as of `fit`; `"auto"` goes on with the folds that were begun.
        callbacks: told what happens in each.
        progress: whether to print epochs and a bar on stderr.

    Returns:
        What `fit` gave for each, and their summary.

    Raises:
        ConfigError: without folds, or with a fold.
        MobileOneError: as `fit`; the folds that were finished stay.
    """
    hold_out = config.hold_out
    if not hold_out.folds or hold_out.fold:
        raise ConfigError(
            f"fit_folds needs folds and no fold, got folds={hold_out.folds}, fold={hold_out.fold}"
        )
    results = []
    for fold in range(1, hold_out.folds + 1):
        own = config.with_values({"hold_out.fold": fold})
        folder = fold_dir(run_dir, fold)
        goes_on: Resume = resume
        if resume is True and not RunDir(folder).config.exists():
            goes_on = "auto"  # a fold that was not begun yet
        results.append(fit(own, run_dir=folder, resume=goes_on, callbacks=callbacks, progress=progress))
    return results, summarize_folds(run_dir)


def summarize_folds(run_dir: str | Path) -> FoldSummary:
    """Read the folds that are there and evaluated, and write folds.csv beside them.

    Args:
        run_dir: the folder with fold-1, fold-2, ….

    Raises:
        TrainingError: if there is none, they are of different divisions, or one's files were altered.
        MobileOneError: if the table cannot be written.
    """
    figures: dict[int, dict[str, float]] = {}
    epochs: dict[int, int] = {}
    divisions = set()
    for folder in sorted(Path(run_dir).glob("fold-*")):
        files = RunDir(folder)
        if not files.config.exists() or not files.metrics.exists():
            continue
        config = files.stored_config()
        hold_out = config.hold_out
        row = best_row(epoch_rows(files, needs_test=False), config.select)
        if row is None:
            continue
        divisions.add((hold_out.folds, hold_out.seed, hold_out.by, config.task))
        figures[hold_out.fold] = {name: float(row[column_of(name)]) for name in METRICS[config.task]}
        epochs[hold_out.fold] = int(row["epoch"])
    if not figures:
        raise TrainingError(f"{run_dir} holds no fold with an evaluated epoch")
    if len(divisions) > 1:
        raise TrainingError(f"the folds in {run_dir} are of different divisions; give each its own run_dir")
    ordered = {fold: figures[fold] for fold in sorted(figures)}
    summary = FoldSummary(
        folds=divisions.pop()[0], figures=ordered, epochs=epochs, path=Path(run_dir) / TABLE_NAME
    )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([summary.header(), *summary.rows()])
    with atomic_path(summary.path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return summary
