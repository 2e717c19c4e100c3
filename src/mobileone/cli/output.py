"""How results look on a terminal: JSON, sizes, lines and bars."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mobileone.evaluation.metric_names import title_of
from mobileone.outside_text import json_text

if TYPE_CHECKING:
    from tqdm import tqdm

    from mobileone.evaluation.metrics import EvalResult


def print_json(value: Any) -> None:
    """`value` on stdout, indented, readable by any JSON parser (no NaN)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(json_text(value, indent=2, only_ascii=not encoding.lower().startswith("utf")))


def megabytes(size: int) -> str:
    """Bytes as MB of 1e6.

    >>> megabytes(8_314_016)
    '8.31 MB'
    """
    return f"{size / 1e6:.2f} MB"


def result_line(result: EvalResult) -> str:
    """Figures of the task, loss, number of images, and of a calibrated model the sure ones, in one line."""
    shown = [name for name in result.overall if name in ("acc1", "acc5")] or list(result.overall)
    figures = "  ".join(f"{title_of(name)} {result.metrics[name]:.3f}" for name in shown)
    line = f"{figures}  loss {result.loss:.4f}  n {result.num_images}"
    if result.coverage is not None:
        right = "" if result.accepted_acc1 is None else f" (acc@1 of these {result.accepted_acc1:.3f})"
        line += f"  sure {result.coverage:.1f} %{right}"
    return f"{line}  skipped {len(result.skipped)}" if result.skipped else line


class CountingBar:
    """A progress bar on stderr that learns its length with the first news."""

    def __init__(self, title: str, *, unit: str) -> None:
        self.title, self.unit = title, unit
        self.bar: tqdm[object] | None = None

    def __enter__(self) -> CountingBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, done: int, total: int) -> None:
        """So many of so many are done."""
        from mobileone.progress_bar import progress_bar

        if self.bar is None:
            self.bar = progress_bar(range(total), title=self.title, unit=self.unit, hidden=False)
        self.bar.update(done - self.bar.n)
