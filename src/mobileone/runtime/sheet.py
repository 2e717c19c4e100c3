"""A picture of images with what the network saw in them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from mobileone.atomic import atomic_path
from mobileone.data.decode import read_image
from mobileone.errors import ConfigError, MissingExtraError
from mobileone.runtime.predictor import Prediction

COLUMNS, MAX_IMAGES = 6, 60


def require_png(path: str | Path) -> None:
    """Refuse a picture of another kind.

    Raises:
        ConfigError: if `path` does not end in .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise ConfigError(f"the picture must end in .png, got {path}")


def draw_sheet(predictions: Sequence[Prediction], path: str | Path) -> None:
    """Draw images from files in rows of six, each under its likeliest class, as PNG.

    Args:
        predictions: of image files; the first 60 are drawn.
        path: of the picture, ending in .png.

    Raises:
        ConfigError: if `path` does not end in .png.
        MissingExtraError: without matplotlib.
    """
    require_png(path)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("pictures need matplotlib; pip install 'mobileone[train]'") from error
    shown = predictions[:MAX_IMAGES]
    rows = ceil(len(shown) / COLUMNS)
    figure = Figure(figsize=(2 * COLUMNS, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, prediction in zip(axes, shown, strict=False):
        best = prediction.scores[0]
        name = best.name.split(",")[0]
        axis.imshow(read_image(prediction.image).decode().permute(1, 2, 0).numpy())  # (C, H, W) → (H, W, C)
        axis.set_title(f"{name}\n{100 * best.probability:.0f} %", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
