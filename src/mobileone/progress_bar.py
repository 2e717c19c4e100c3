"""The one progress bar of every stage."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")


def progress_bar(
    items: Iterable[T],
    *,
    title: str,
    unit: str,
    hidden: bool,
    total: int | None = None,
    initial: int = 0,
) -> tqdm[T]:
    """A bar on stderr that vanishes when done: redrawn often on a terminal, every 10 s in a log file."""
    from tqdm import tqdm  # seldom needed where one image is classified, and it loads much

    terminal = sys.stderr.isatty()
    seconds = 0.1 if terminal else 10.0
    return tqdm(
        items,
        desc=title,
        total=total,
        initial=initial,
        unit=unit,
        leave=False,
        disable=hidden,
        mininterval=seconds,
        maxinterval=seconds,
        delay=0.0 if terminal else seconds,
    )
