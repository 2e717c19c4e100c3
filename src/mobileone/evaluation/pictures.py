"""Pictures of what a network gets wrong, as PNG, readable with ten classes and with a thousand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.data.source import ImageSource
from mobileone.evaluation.answers import Answers
from mobileone.evaluation.confusion import Counts, class_results, confused_pairs
from mobileone.imagenet import human_name
from mobileone.report.figure import new_figure, save_figure
from mobileone.report.tiles import draw_tiles

MAX_LABELLED = 30  # classes whose names and counts fit into one picture
MAX_BARS = 30
MAX_MISTAKES = 48
MAX_CELLS = 250
NAME_LENGTH = 22


def short_name(class_name: str, length: int = NAME_LENGTH) -> str:
    """A class for a label: the first of its human names, cut where too long.

    >>> short_name("n01440764"), short_name("a folder with a very long name")
    ('tench', 'a folder with a very …')
    """
    name = human_name(class_name).split(",")[0].strip()
    return name if len(name) <= length else name[: length - 1] + "…"


def draw_confusion(matrix: Counts, classes: Sequence[str], path: Path) -> None:
    """The confusion matrix; with many classes as a map of all, beside the names of those most often wrong.

    Args:
        matrix: images by label and prediction, (K, K).
        classes: K names.
        path: of the picture.

    Raises:
        MissingExtraError: without matplotlib.
    """
    few = len(classes) <= MAX_LABELLED
    size = 0.34 * min(len(classes), MAX_LABELLED) + 3.2
    figure = new_figure(size if few else size + 8, size)
    if few:
        axes = [figure.subplots()]
    else:
        axes = list(figure.subplots(1, 2, width_ratios=(8, size)))
        _draw_whole(axes[0], matrix)
    chosen = list(range(len(classes))) if few else _confused_classes(matrix, MAX_LABELLED)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    block = np.ix_(chosen, chosen)
    _draw_labelled(axes[-1], matrix[block], shares[block], [short_name(classes[i]) for i in chosen])
    if not few:
        axes[-1].set_title(f"{len(chosen)} classes of the commonest mistakes", fontsize=10)
    save_figure(figure, path)


def _confused_classes(matrix: Counts, number: int) -> list[int]:
    """About that many classes, from the commonest mistakes, in their own order."""
    chosen: set[int] = set()
    for pair in confused_pairs(matrix, limit=number):
        if len(chosen | set(pair[:2])) <= number:
            chosen |= set(pair[:2])
    return sorted(chosen)


def _draw_whole(axes: Any, matrix: Counts) -> None:
    """A mark where a class is taken for another: the darker, the larger the share of the class."""
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(share, 0)
    cells = _largest(100 * share, MAX_CELLS)
    top = max(float(cells.max()), 1.0)
    extent = (0.5, len(matrix) + 0.5, len(matrix) + 0.5, 0.5)
    shown = axes.imshow(np.sqrt(cells), cmap="Blues", vmin=0, vmax=np.sqrt(top), extent=extent)
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.7)
    ticks = np.array([share for share in (0, 1, 5, 10, 25, 50, 100) if share <= top])
    bar.set_ticks(np.sqrt(ticks), labels=[f"{tick} %" for tick in ticks])
    bar.set_label("share of the class, largest in a cell")
    axes.set_xlabel("seen as class number")
    axes.set_ylabel("class number")
    axes.set_title(f"all {len(matrix)} classes, right answers left out", fontsize=10)


def _largest(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """A square matrix shrunk to at most `most` cells a side, each the largest of what it covers."""
    step = -(-len(values) // most)
    padding = -len(values) % step
    padded = np.pad(values, ((0, padding), (0, padding)))
    side = len(padded) // step
    cells: NDArray[np.float64] = padded.reshape(side, step, side, step).max((1, 3))
    return cells


def _draw_labelled(axes: Any, matrix: Counts, share: NDArray[np.float64], names: Sequence[str]) -> None:
    """Names on both axes, a number in every cell that is not empty, the darker the larger its share."""
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    if max(map(len, names)) > 3:
        axes.set_xticks(ticks, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    else:
        axes.set_xticks(ticks, names, fontsize=8)
    axes.set_yticks(ticks, names, fontsize=8)
    axes.set_xlabel("seen as")
    axes.set_ylabel("class")
    for row, column in np.argwhere(matrix > 0):
        value = int(matrix[row, column])
        dark = share[row, column] > 0.5
        color = "white" if dark else ("#333" if row == column else "#b8510b")
        axes.text(column, row, f"{value}", ha="center", va="center", fontsize=7, color=color)


def draw_worst_classes(matrix: Counts, classes: Sequence[str], path: Path) -> None:
    """Top-1 of the classes that fare worst, and what they are mostly taken for.

    Args:
        matrix: images by label and prediction, (K, K).
        classes: K names.
        path: of the picture.

    Raises:
        MissingExtraError: without matplotlib.
    """
    results = class_results(matrix)
    bars = []
    for result in results[:MAX_BARS]:
        text = f"{result.recall:.0f} % of {result.num_images}"
        if result.mistaken_for is not None:
            text += f", {result.num_mistaken} as {short_name(classes[result.mistaken_for])}"
        bars.append((short_name(classes[result.label]), result.recall, text))
    mean = 100 * float(matrix.diagonal().sum() / matrix.sum())
    draw_worst(
        bars,
        mean=mean,
        axis="top-1 of the class, %",
        title=f"the {len(bars)} worst of {len(results)} classes; the line is all images' top-1, {mean:.1f} %",
        path=path,
    )


def draw_worst(
    bars: Sequence[tuple[str, float, str]], *, mean: float, axis: str, title: str, path: Path
) -> None:
    """A bar a class, from the first at the top: its name, percent, and a text in or beside the bar.

    Args:
        bars: of the classes, `MAX_BARS` at most.
        mean: percent, where a line is drawn.
        axis: what the bars are.
        title: of the picture.
        path: of the picture.

    Raises:
        MissingExtraError: without matplotlib.
    """
    figure = new_figure(9, 0.3 * len(bars) + 1.6)
    axes = figure.subplots()
    places = range(len(bars))
    axes.barh(places, [value for _, value, _ in bars], color="#2463c4", height=0.7)
    axes.set_yticks(places, [name for name, _, _ in bars], fontsize=9)
    for place, (_, value, text) in enumerate(bars):
        at, color = (1, "white") if value > 50 else (value + 1, "#333")
        axes.text(at, place, text, ha="left", va="center", fontsize=8, color=color)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel(axis)
    axes.axvline(mean, color="#b8510b", linewidth=1)
    axes.set_title(title, fontsize=10)
    save_figure(figure, path)


def draw_mistakes(answers: Answers, source: ImageSource, path: Path) -> int:
    """A sheet of the wrong images that the network was surest of, each with its class and the prediction.

    Args:
        answers: of the network.
        source: what it answered for.
        path: of the picture; not written where there is no mistake.

    Returns:
        How many are on it, 48 at most.

    Raises:
        MissingExtraError: without matplotlib.
    """
    chosen = answers.mistakes()[:MAX_MISTAKES]
    tiles = []
    for entry in chosen:
        label, prediction = (
            short_name(answers.classes[which[entry]], 20) for which in (answers.labels, answers.predictions)
        )
        title = f"{label}\nas {prediction}, {100 * answers.probabilities[entry]:.0f} %"
        tiles.append((source.read(int(answers.indices[entry])).decode(), title))
    if tiles:
        draw_tiles(tiles, path)
    return len(tiles)
