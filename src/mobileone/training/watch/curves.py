"""The course of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobileone.report.figure import new_figure, save_figure
from mobileone.training.watch.records import EpochRecord


def draw_curves(records: Sequence[EpochRecord], path: Path) -> None:
    """Loss, accuracy, and learning rate with weight decay over the epochs, as a PNG. Needs no display.

    Args:
        records: the epochs so far, one at least.
        path: where to.

    Raises:
        MissingExtraError: without matplotlib.
    """
    figure = new_figure(12, 3.6)
    from matplotlib.ticker import MaxNLocator

    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = [r.epoch for r in records]
    tested = [r for r in records if r.acc1 is not None]
    tested_epochs = [r.epoch for r in tested]
    marker = "o" if len(records) < 30 else ""
    loss.plot(
        epochs, [r.train_loss for r in records], marker=marker, ms=3, label="training (smoothed labels)"
    )
    loss.plot(tested_epochs, [r.val_loss for r in tested], marker=marker, ms=3, label="validation")
    accuracy.plot(tested_epochs, [r.acc1 for r in tested], marker=marker, ms=3, label="top-1")
    accuracy.plot(tested_epochs, [r.acc5 for r in tested], marker=marker, ms=3, label="top-5")
    rate.plot(epochs, [r.lr for r in records], marker=marker, ms=3, label="learning rate (left)")
    decay = rate.twinx()
    (line,) = decay.plot(epochs, [r.weight_decay for r in records], "C1--", label="weight decay (right)")
    decay.ticklabel_format(axis="y", scilimits=(0, 0))
    best = max(tested, key=lambda r: r.acc1 or 0.0, default=None)
    if best is not None:
        accuracy.axvline(best.epoch, color="0.8", zorder=0)
        accuracy.set_title(f"best top-1 {best.acc1:.2f} % in epoch {best.epoch}", fontsize=10)
    for axes, label in ((loss, "loss, nats"), (accuracy, "validation accuracy, %"), (rate, "learning rate")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss.legend(fontsize=8)
    accuracy.legend(fontsize=8, loc="lower right")
    rate.legend(handles=[*rate.get_lines(), line], fontsize=8)
    save_figure(figure, path)
