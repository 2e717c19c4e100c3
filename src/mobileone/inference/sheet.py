"""A picture of images with what the network saw in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobileone.images.decode import read_image
from mobileone.inference.predictor import Prediction
from mobileone.report.tiles import draw_tiles

MAX_IMAGES = 60


def draw_sheet(predictions: Sequence[Prediction], path: str | Path) -> None:
    """Draw images from files in rows of six, each under its likeliest class, as PNG.

    Args:
        predictions: of image files; the first 60 are drawn.
        path: of the picture, ending in .png.

    Raises:
        ConfigError: if `path` does not end in .png.
        MissingExtraError: without matplotlib.
    """
    shown = predictions[:MAX_IMAGES]
    draw_tiles([(read_image(each.image).decode(), _title(each)) for each in shown], path)


def _title(prediction: Prediction) -> str:
    best = prediction.scores[0]
    if prediction.labels is not None:
        return ", ".join(prediction.labels) or f"none (best {best.name}\n{100 * best.probability:.0f} %)"
    return f"{best.name.split(',')[0]}\n{100 * best.probability:.0f} %"
