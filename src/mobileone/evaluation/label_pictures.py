"""Pictures of what a network of several labels an image gets wrong, as PNG."""

from __future__ import annotations

from pathlib import Path

from mobileone.data.source import ImageSource
from mobileone.evaluation.label_answers import LabelAnswers
from mobileone.evaluation.pictures import MAX_BARS, MAX_MISTAKES, short_name
from mobileone.report.figure import new_figure, save_figure
from mobileone.report.tiles import draw_tiles


def draw_worst_labels(answers: LabelAnswers, path: Path) -> None:
    """Average precision of the labels that fare worst, with how often they were given and missed.

    Args:
        answers: of the network.
        path: of the picture.

    Raises:
        MissingExtraError: without matplotlib or scikit-learn.
    """
    results = [result for result in answers.results() if result.ap is not None]
    shown = results[:MAX_BARS]
    figure = new_figure(9, 0.3 * len(shown) + 1.6)
    axes = figure.subplots()
    places = range(len(shown))
    values = [result.ap or 0.0 for result in shown]
    axes.barh(places, values, color="#2463c4", height=0.7)
    axes.set_yticks(places, [short_name(answers.classes[result.label]) for result in shown], fontsize=9)
    for place, (result, value) in enumerate(zip(shown, values, strict=True)):
        text = (
            f"{value:.0f} %, {result.num_images} images: {result.num_right} seen, "
            f"{result.num_given - result.num_right} given wrongly"
        )
        inside = value > 45
        at, color = (1, "white") if inside else (value + 1, "#333")
        axes.text(at, place, text, ha="left", va="center", fontsize=8, color=color)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("average precision of the label, %")
    mean = answers.figures["map"]
    axes.axvline(mean, color="#b8510b", linewidth=1)
    axes.set_title(
        f"the {len(shown)} worst of {len(results)} labels; the line is their mean, mAP {mean:.1f} %",
        fontsize=10,
    )
    save_figure(figure, path)


def draw_label_mistakes(answers: LabelAnswers, source: ImageSource, path: Path) -> int:
    """A sheet of the labels that the network was surest of and wrong about: given to an image, or missed.

    Args:
        answers: of the network.
        source: what it answered for.
        path: of the picture; not written where there is no mistake.

    Returns:
        How many are on it, 48 at most.

    Raises:
        MissingExtraError: without matplotlib.
    """
    tiles = []
    for mistake in answers.mistakes()[:MAX_MISTAKES]:
        what = "is not" if mistake.was_given else "missed"
        title = f"{what} {short_name(answers.classes[mistake.label], 20)}\n{100 * mistake.probability:.0f} %"
        tiles.append((source.read(int(answers.indices[mistake.entry])).decode(), title))
    if tiles:
        draw_tiles(tiles, path)
    return len(tiles)
