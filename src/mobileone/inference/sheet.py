"""A picture of images with what the network saw in them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from torch import Tensor

from mobileone.images.decode import read_image
from mobileone.inference.predictor import Prediction
from mobileone.report.figure import new_figure, require_png, save_figure

COLUMNS, MAX_IMAGES = 6, 60


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
    return f"{best.name.split(',')[0]}\n{100 * best.probability:.0f} %"


def draw_tiles(tiles: Sequence[tuple[Tensor, str]], path: str | Path) -> None:
    """Draw images in rows of six, each under its title of up to two lines, as PNG.

    Args:
        tiles: images, uint8 (3, H, W) of any size, with titles; one at least.
        path: of the picture, ending in .png.

    Raises:
        ConfigError: if `path` does not end in .png.
        MissingExtraError: without matplotlib.
    """
    require_png(path)
    rows = ceil(len(tiles) / COLUMNS)
    figure = new_figure(2 * COLUMNS, 2.4 * rows, dpi=100)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (pixels, title) in zip(axes, tiles, strict=False):
        axis.imshow(pixels.permute(1, 2, 0).numpy())  # (C, H, W) → (H, W, C)
        axis.set_title(title, fontsize=10)
    save_figure(figure, path)
