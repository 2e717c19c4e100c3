"""The course of a run as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mobileone.evaluation.metric_names import title_of
from mobileone.report.figure import new_figure, save_figure
from mobileone.training.watch.records import EpochRecord, best_record


def draw_curves(records: Sequence[EpochRecord], path: Path, *, select: str = "acc1") -> None:
    """Loss, accuracy, and learning rate with weight decay over the epochs, as a PNG. Needs no display.

    Args:
        records: the epochs so far, one at least.
        path: where to.
        select: figure that the best epoch is chosen by, which is drawn too.

    Raises:
        MissingExtraError: without matplotlib.
    """
    figure = new_figure(12, 3.6)
    from matplotlib.ticker import MaxNLocator

    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = [r.epoch for r in records]
    tested = [r for r in records if r.metrics]
    tested_epochs = [r.epoch for r in tested]
    marker = "o" if len(records) < 30 else ""
    loss.plot(
        epochs, [r.train_loss for r in records], marker=marker, ms=3, label="training (smoothed labels)"
    )
    loss.plot(tested_epochs, [r.val_loss for r in tested], marker=marker, ms=3, label="validation")
    for name in _drawn(tested, select):
        values = [r.metrics.get(name, math.nan) for r in tested]
        accuracy.plot(tested_epochs, values, marker=marker, ms=3, label=title_of(name))
    rate.plot(epochs, [r.lr for r in records], marker=marker, ms=3, label="learning rate (left)")
    decay = rate.twinx()
    (line,) = decay.plot(epochs, [r.weight_decay for r in records], "C1--", label="weight decay (right)")
    decay.ticklabel_format(axis="y", scilimits=(0, 0))
    best = best_record(records, select)
    if best is not None:
        accuracy.axvline(best.epoch, color="0.8", zorder=0)
        figure_text = (
            f"{best.val_loss:.4f}" if select == "loss" else f"{best.metrics.get(select, math.nan):.2f} %"
        )
        title = f"best {title_of(select)} {figure_text} in epoch {best.epoch}"
        accuracy.set_title(title, fontsize=10)
    for axes, label in ((loss, "loss, nats"), (accuracy, "validation, %"), (rate, "learning rate")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss.legend(fontsize=8)
    accuracy.legend(fontsize=8, loc="lower right")
    rate.legend(handles=[*rate.get_lines(), line], fontsize=8)
    save_figure(figure, path)


def _drawn(tested: Sequence[EpochRecord], select: str) -> list[str]:
    """The figures of the whole set, and the one that is selected by."""
    there = [name for name in (tested[0].metrics if tested else ()) if "/" not in name]
    chosen = [] if select == "loss" or select in there else [select]
    return [*there, *chosen]
