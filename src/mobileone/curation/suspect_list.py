"""Suspects to act on: a CSV that `--exclude` reads, and a page to look through."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

import PIL.Image

from mobileone.atomic import atomic_path
from mobileone.curation.check_labels import LabelReport, Suspect
from mobileone.data.source import ImageSource
from mobileone.data.subset import image_name
from mobileone.imagenet import human_name
from mobileone.outside_text import csv_cell, printable
from mobileone.report.page import document, picture, tiles

COLUMNS = ("image", "label", "suggested", "quality", "reason", "other")
MOST = 200  # suspects on the page
SIDE = 120  # of a thumbnail, pixels
TITLES = {
    "contradiction": "The same picture as different classes",
    "label": "Labels that are probably wrong",
    "duplicate": "Near-duplicates",
}


def write_suspects(report: LabelReport, path: str | os.PathLike[str]) -> Path:
    """A row a suspect, the most suspicious first; the path. What looks like a formula gets an apostrophe.

    Raises:
        MobileOneError: if it cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for each in report.suspects:
            texts = [csv_cell(printable(text)) for text in (each.image, each.label, each.suggested)]
            other = csv_cell(printable(each.other))
            table.writerow([*texts, f"{each.quality:.6f}", each.reason, other])
    return Path(path)


def write_label_page(report: LabelReport, path: str | os.PathLike[str], *, title: str) -> Path:
    """A page with thumbnails, whole in itself; the path.

    Raises:
        BadImageError: if an image can no longer be read.
        MobileOneError: if it cannot be written.
    """
    number = len(report.source)
    summary = [
        (f"{number:,}", "images"),
        (f"{100 * report.accuracy:.1f} %", f"of the labels are what {report.probabilities} says"),
        *((str(report.count(reason)), words) for reason, words in SUMMARY.items()),  # type: ignore[arg-type]
    ]
    parts = [f"<h1>Labels of {escape(title)}</h1>", tiles(summary)]
    parts += [f'<p class="soft">{escape(note)}</p>' for note in report.notes]
    shown = report.suspects[:MOST]
    for reason, heading in TITLES.items():
        own = [each for each in shown if each.reason == reason]
        if own:
            parts.append(_section(heading, (_tile(report.source, each.index, _words(each)) for each in own)))
    if len(report.suspects) > MOST:
        parts.append(f'<p class="soft">and {len(report.suspects) - MOST} more in the table</p>')
    odd = (_tile(report.source, index, [f"distance {far:.2f}"]) for index, far in report.odd)
    parts.append(_section("Least like any other", odd))
    with atomic_path(path) as temporary:
        temporary.write_text(document(f"Labels of {title}", parts), encoding="utf-8")
    return Path(path)


SUMMARY = {
    "label": "labels probably wrong",
    "contradiction": "images also there as another class",
    "duplicate": "near-duplicates of earlier ones",
}


def _words(suspect: Suspect) -> list[str]:
    label, suggested = human_name(suspect.label), human_name(suspect.suggested)
    if suspect.reason == "label":
        return [f"{label} → {suggested}", f"quality {suspect.quality:.3f}"]
    return [label, f"like {suspect.other}"]


def _section(heading: str, inner: Iterable[str]) -> str:
    return f'<section><h2>{escape(heading)}</h2><div class="tiles">{"".join(inner)}</div></section>'


def _tile(source: ImageSource, index: int, words: list[str]) -> str:
    name = image_name(source, index)
    lines = "".join(f"<span>{escape(printable(line))}</span><br>" for line in [*words, name])
    return f'<div class="tile">{picture(_thumbnail(source, index), alt=name)}<br>{lines}</div>'


def _thumbnail(source: ImageSource, index: int) -> bytes:
    image = PIL.Image.fromarray(source.read(index).decode())
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
