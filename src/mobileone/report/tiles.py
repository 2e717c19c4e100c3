"""Images in rows, each under its title, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileone.report.figure import new_figure, require_png, save_figure

COLUMNS = 6


def draw_tiles(tiles: Sequence[tuple[NDArray[np.uint8], str]], path: str | Path) -> None:
    """Draw images in rows of six, each under its title of up to two lines, as PNG.

    Args:
        tiles: images, uint8 (H, W, 3) of any size, with titles; one at least.
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
        axis.imshow(pixels)
        axis.set_title(title, fontsize=10)
    save_figure(figure, path)
