"""Figures that need no display, written as PNG, whole or not at all.

Imports no torch; matplotlib only when a figure is made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.atomic import atomic_path
from mobileone.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_png(path: str | os.PathLike[str]) -> None:
    """Refuse a picture of another kind.

    Raises:
        ConfigError: if `path` does not end in .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise ConfigError(f"the picture must end in .png, got {os.fspath(path)}")


def new_figure(width: float, height: float, *, dpi: float = 110) -> Figure:
    """An empty figure of that size in inches, bound to no window.

    Raises:
        MissingExtraError: without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "pictures need matplotlib, which is not installed; pip install 'mobileone[train]'"
        ) from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write it as PNG; the path.

    Raises:
        MobileOneError: if the file cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return Path(path)
