"""What predict, embed and test say of results in a folder, which several processes write."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.backends.table import backend_of
from mobileone.cli.output import CountingBar, print_json
from mobileone.outside_text import printable

if TYPE_CHECKING:
    from mobileone.parts.work_through import PartsReport


def is_folder(output: Path | None) -> bool:
    """Whether an --output is a folder of parts: there, or without a suffix.

    >>> is_folder(Path("out/")), is_folder(Path("out.csv")), is_folder(None)
    (True, False, False)
    """
    return output is not None and (output.is_dir() or not output.suffix)


def own_threads(model: str, threads: int | None) -> int | None:
    """Threads of an exported file's runtime: as told, or this process's share of the machine's cores."""
    from mobileone.processor import num_cores
    from mobileone.ranks.launch import ranks_here

    if threads is not None or backend_of(model) is None or ranks_here() == 1:
        return threads
    return max(num_cores() // ranks_here(), 1)


@contextmanager
def part_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over the parts, of the first rank alone."""
    from mobileone.ranks.launch import read_launch

    if read_launch().rank:
        yield lambda done, total: None
        return
    with CountingBar(title, unit="part") as bar:
        yield bar.show


def tell_failure(name: str, reason: str) -> None:
    """A part whose data cannot be used; the others go on."""
    print(f"part {name} failed: {printable(reason)}", file=sys.stderr)


def tell_report(report: PartsReport, *, as_json: bool) -> int:
    """What this process did, and what is missing; the exit code, 0 where every part is there."""
    if as_json:
        print_json(report.to_dict())
        return 0 if report.is_whole else 1
    where = printable(report.output)
    here = f"{len(report.done_here)} of {report.parts} parts done here, {report.images_here} images"
    before = f", {report.there_before} were there" if report.there_before else ""
    print(f"{where}: {here}{before}")
    if report.is_whole:
        print(f"{where}: all parts are there; mobileone merge {where} proves it", file=sys.stderr)
    if report.failed:
        names = ", ".join(map(printable, list(report.failed)[:3]))
        more = f" and {len(report.failed) - 3} more" if len(report.failed) > 3 else ""
        print(
            f"{where}: {len(report.failed)} parts are missing: {names}{more}; the same command tries them "
            "again",
            file=sys.stderr,
        )
    if report.left:
        print(
            f"{where}: {len(report.left)} parts are for other ranks to do (this file system has no locks)",
            file=sys.stderr,
        )
    return 0 if report.is_whole or not report.failed else 1
