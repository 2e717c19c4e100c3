"""Pictures of what a network of several labels an image gets wrong, as PNG."""

from __future__ import annotations

from pathlib import Path

from mobileone.data.source import ImageSource
from mobileone.evaluation.label_answers import LabelAnswers
from mobileone.evaluation.pictures import MAX_BARS, MAX_MISTAKES, draw_worst, short_name
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
    bars = [
        (
            short_name(answers.classes[result.label]),
            result.ap or 0.0,
            f"{result.ap or 0.0:.0f} %, {result.num_images} images: {result.num_right} seen, "
            f"{result.num_given - result.num_right} given wrongly",
        )
        for result in results[:MAX_BARS]
    ]
    mean = answers.figures["map"]
    draw_worst(
        bars,
        mean=mean,
        axis="average precision of the label, %",
        title=f"the {len(bars)} worst of {len(results)} labels; the line is their mean, mAP {mean:.1f} %",
        path=path,
    )


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
