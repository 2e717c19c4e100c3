"""A calibration as one self-contained page: reliability, coverage, novelty, and every threshold."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mobileone.atomic import atomic_path
from mobileone.calibration.calibrate import Calibration
from mobileone.calibration.reliability import NUM_BINS, Reliability
from mobileone.imagenet import human_name
from mobileone.report.figure import new_figure, save_figure
from mobileone.report.page import Cell, document, picture, sortable_table, tiles

BLUE, ORANGE, GREY = "#2463c4", "#b8510b", "#999"


def write_calibration_page(result: Calibration, path: str | os.PathLike[str], *, title: str) -> Path:
    """Write the page to `path`; the path.

    Args:
        result: of `calibrate`.
        path: of the page.
        title: what was calibrated.

    Raises:
        MissingExtraError: without matplotlib.
        MobileOneError: if the file cannot be written.
    """
    parts = [f"<h1>Calibration of {escape(title)}</h1>", tiles(_summary(result))]
    parts += [f'<p class="soft">{escape(note)}</p>' for note in result.notes]
    parts.append(_section("Reliability", _png(lambda p: _draw_reliability(result, p)), RELIABILITY))
    parts.append(_section("Coverage", _png(lambda p: _draw_coverage(result, p)), COVERAGE))
    if result.novelty:
        parts.append(_section("Novel images", _png(lambda p: _draw_novelty(result, p)), NOVELTY))
    parts.append(f"<section><h2>Decision</h2>{_decision(result)}</section>")
    with atomic_path(path) as temporary:
        temporary.write_text(document(f"Calibration of {title}", parts), encoding="utf-8")
    return Path(path)


RELIABILITY = (
    "How often answers of a confidence are right: on the diagonal a confidence means what it says. Bars are "
    "the share of the images. After calibration, each image was judged by a fit without it."
)
COVERAGE = "Accuracy of the sure answers against how many there are, for every threshold for all classes."
NOVELTY = (
    "Scores of images of the classes and of the novel ones, and the limit. AUROC is the chance that a known "
    "image scores above a novel one; FPR95 the share of novel ones that pass where 95 % of the known do."
)


def summary_rows(result: Calibration) -> list[tuple[str, str, str]]:
    """Name of a figure, before, after; a page's and a terminal's."""
    return [
        ("expected calibration error", f"{result.before.ece:.4f}", f"{result.after.ece:.4f}"),
        ("Brier score", f"{result.before.brier:.4f}", f"{result.after.brier:.4f}"),
        ("loss, nats", f"{result.before.loss:.4f}", f"{result.after.loss:.4f}"),
    ]


def _summary(result: Calibration) -> list[tuple[str, str]]:
    values = [(f"{before} → {after}", name) for name, before, after in summary_rows(result)]
    images = f"{result.num_images:,} images"
    if result.task == "singlelabel":
        words = (f"top-1 of {images}", "of the answers are sure", "of these are right")
    else:
        words = (f"of the labels of {images} told rightly at 0.5", "of their labels given", "of these right")
    values.append((f"{100 * result.accuracy:.2f} %", words[0]))
    values.append((f"{100 * result.coverage:.1f} %", words[1]))
    if result.accepted_accuracy is not None:
        values.append((f"{100 * result.accepted_accuracy:.2f} %", words[2]))
    return values


def _section(title: str, png: bytes, note: str) -> str:
    return f'<section><h2>{title}</h2>{picture(png, alt=title)}<p class="soft">{escape(note)}</p></section>'


def _png(draw: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw(path)
        return path.read_bytes()


def _draw_reliability(result: Calibration, path: Path) -> None:
    figure = new_figure(9, 4.2)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, name, figures in zip(axes, ("before", "after"), (result.before, result.after), strict=True):
        _draw_diagram(axis, figures)
        axis.set_title(f"{name}: calibration error {figures.ece:.3f}", fontsize=10)
    axes[0].set_ylabel("share that is right")
    save_figure(figure, path)


def _draw_diagram(axis: Any, figures: Reliability) -> None:
    left = np.arange(NUM_BINS) / NUM_BINS
    axis.bar(left, figures.counts / figures.counts.sum(), width=1 / NUM_BINS, align="edge", color="#ddd")
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    there = figures.counts > 0
    sizes = 12 + 160 * figures.counts[there] / figures.counts.max()
    axis.scatter(figures.confidence[there], figures.accuracy[there], s=sizes, color=BLUE, zorder=3)
    axis.plot(figures.confidence[there], figures.accuracy[there], color=BLUE, linewidth=1)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_xlabel("confidence")


def _draw_coverage(result: Calibration, path: Path) -> None:
    figure = new_figure(9, 3.8)
    axis = figure.subplots()
    curve = result.curve
    axis.plot(100 * curve.coverage, 100 * curve.accuracy, color=BLUE)
    if result.accepted_accuracy is not None:
        axis.scatter([100 * result.coverage], [100 * result.accepted_accuracy], color=ORANGE, zorder=3)
        axis.annotate("as decided", (100 * result.coverage, 100 * result.accepted_accuracy), fontsize=9)
    axis.set_xlabel("sure answers, % of all")
    axis.set_ylabel("of these right, %")
    axis.set_xlim(0, 101)
    save_figure(figure, path)


def _draw_novelty(result: Calibration, path: Path) -> None:
    figure = new_figure(9, 3.8)
    axes = figure.subplots(1, len(result.novelty), squeeze=False)[0]
    for axis, figures in zip(axes, result.novelty, strict=True):
        edges = np.histogram_bin_edges(np.concatenate([figures.known, figures.novel]), 40)
        for values, color, name in ((figures.known, BLUE, "known"), (figures.novel, ORANGE, "novel")):
            axis.hist(values, edges, density=True, alpha=0.6, color=color, label=name)
        if figures.score == result.decision.novelty:
            axis.axvline(result.decision.novelty_limit, color="#333", linewidth=1)
        axis.set_title(f"{figures.score}: AUROC {figures.auroc:.3f}, FPR95 {figures.fpr95:.3f}", fontsize=10)
        axis.legend(fontsize=8)
    save_figure(figure, path)


def _decision(result: Calibration) -> str:
    """A row a class where anything is of a class, else a row for all; then the evidence."""
    decision = result.decision
    number = max(len(decision.temperatures), len(decision.biases), len(decision.thresholds))
    columns = [
        np.broadcast_to(np.array(values), number).tolist()
        for values in (decision.temperatures, decision.biases, decision.thresholds)
    ]
    names = [human_name(name) for name in result.classes] if number > 1 else ["all classes"]
    body: list[list[Cell]] = [
        [(name, name), *((f"{value:.4f}", value) for value in values)]
        for name, *values in zip(names, *columns, strict=True)
    ]
    rows: list[list[Cell]] = [
        [(name, name), (f"{value:.4f}" if isinstance(value, float) else str(value), str(value))]
        for name, value in decision.evidence.items()
    ]
    return sortable_table(
        ["class", "temperature", "bias", "sure from"], body, text=("class",)
    ) + sortable_table(["field", "value"], rows, text=("field", "value"))
