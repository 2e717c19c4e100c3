"""Figures that need no display, written as PNG, whole or not at all.

Imports no torch; matplotlib only when a figure is made.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.atomic import atomic_path
from mobileone.errors import ConfigError, MissingExtraError, MobileOneError, MobileOneWarning

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SOFTWARE = {"Software": "mobileone"}
"""What our pictures say made them; commands replace no others (`cli/target_file.py`)."""


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
    """Write it as PNG; the path. No text in it is markup, whatever dollar signs and backslashes it has.

    Characters that matplotlib's own font lacks come from the machine's other fonts; where none has them,
    a `MobileOneWarning` says so once.

    Raises:
        MobileOneError: if the file cannot be written.
    """
    import matplotlib as mpl

    _make_plain(figure)
    # Ticks that are made while it is drawn follow the setting.
    with atomic_path(path) as temporary, mpl.rc_context({"text.parse_math": False}):

        def draw() -> None:
            figure.savefig(temporary, format="png", metadata=SOFTWARE)

        if _lacks_glyphs(draw):
            _choose_fonts(figure)
            _lacks_glyphs(draw)
    return Path(path)


def drawable(text: str) -> str:
    """A text as it can be drawn: what is no character (half a pair, of a name that is no UTF-8) is replaced.

    >>> drawable("caf\\udce9")
    'caf?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def _make_plain(figure: Figure) -> None:
    """No text of a figure is markup, and each can be drawn."""
    from matplotlib.text import Text
    from matplotlib.ticker import FixedLocator

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            plain = [drawable(label) for label in labels]
            # Where somebody named the ticks: drawing names them anew.
            if plain != labels and isinstance(axis.get_major_locator(), FixedLocator):
                axis.set_ticks(axis.get_ticklocs(), labels=plain)
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(drawable(text.get_text()))


def try_to_draw(draw: Callable[[], object], name: str) -> str | None:
    """Draw a picture that is not worth what it is drawn for: a run that is over, a report.

    Args:
        draw: draws it, with whatever library, which may fail in any way.
        name: of the picture.

    Returns:
        A line that says why it could not be drawn; None where it was.

    Raises:
        MissingExtraError: without matplotlib.
    """
    try:
        draw()
    except MissingExtraError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{name} was not drawn: {reason if isinstance(error, MobileOneError) else repr(error)}"
    return None


def _lacks_glyphs(draw: Callable[[], object]) -> bool:
    """Draw; whether a font lacked a character. Matplotlib's warnings, one for each, are kept back."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draw()
    missing = [warning for warning in caught if str(warning.message).startswith("Glyph ")]
    for warning in caught:
        if warning not in missing:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return bool(missing)


_told: set[str] = set()


def _choose_fonts(figure: Figure) -> None:
    from matplotlib.text import Text

    from mobileone.report.fonts import fonts_for

    texts = figure.findobj(Text)
    families, missing = fonts_for("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_fontfamily(families)
    new = "".join(character for character in missing if character not in _told)
    if new:
        _told.update(new)
        warnings.warn(
            f"no font of this machine has {' '.join(new[:12])}; pictures show boxes instead; install a font "
            "that has them, such as Noto Sans CJK for Chinese, Japanese and Korean",
            MobileOneWarning,
            stacklevel=3,
        )
