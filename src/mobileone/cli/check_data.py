"""`mobileone check-data`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mobileone.cli.output import CountingBar, print_json
from mobileone.cli.target_file import require_drawing
from mobileone.errors import DataError
from mobileone.input_spec import size_text
from mobileone.outside_text import printable
from mobileone.report.aligned_table import aligned_table

if TYPE_CHECKING:
    from mobileone.data.check import DataReport, SplitReport
    from mobileone.data.source import ImageSource

MAX_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class CheckData:
    """Decode every image of a data set and report damage, duplicates, balance and sizes.

    The exit code is 1 if images are damaged, or in both train and val, or a class has only files of other
    kinds.

    Example: mobileone check-data DIR --preview out/batch.png
    """

    data: Annotated[Positional[str], arg(metavar="DIR")]
    """Folder with train/<class>/ and val/<class>/, a list of images, shards, hf:owner/name on the Hugging
    Face hub, or `digits`."""
    val_data: str | None = None
    """Validation images, where they are elsewhere."""
    workers: int | None = None
    """Processes; 0 works in this one. Default: one for every core."""
    preview: Path | None = None
    """Also draw training batches after augmentation, one for each phase of the recipe, into this PNG."""
    recipe: str = "reference"
    """Recipe whose augmentation --preview shows."""
    json: bool = False
    """Print the report as JSON, with every name."""

    def run(self) -> int:
        from mobileone.data.check import check_data

        if self.preview is not None:
            require_drawing(self.preview, ".png")
        sources = self._sources()
        if self.preview is not None:
            self._draw(sources)
        with CountingBar("checking", unit="image") as bar:
            report = check_data(sources, num_workers=self.workers, on_images=bar.show)
        if self.json:
            print_json(report.to_dict())
        else:
            for line in _lines(report):
                print(line)
        wrong = [f"{report.num_bad} images cannot be decoded"] if report.num_bad else []
        wrong += [f"{len(report.shared)} are in both train and val"] if report.shared else []
        unread = sorted({name for split in report.splits.values() for name in split.unread})
        wrong += [f"no file of class {', '.join(map(printable, unread))} is an image"] if unread else []
        if wrong:
            raise DataError(f"{self.data}: {', '.join(wrong)}; remove or mend them")
        return 0

    def _sources(self) -> dict[str, ImageSource]:
        from mobileone.data.open import open_data, open_validation, splits_of

        there = splits_of(self.data)
        sources: dict[str, ImageSource] = {}
        if "train" in there or self.val_data:
            sources["train"] = open_data(self.data, split="train")
            classes = tuple(sources["train"].classes)
            if there != {"train"} or self.val_data:
                sources["val"] = open_validation(self.data, self.val_data, classes=classes)
        else:
            sources["val"] = open_data(self.data, split="val")
        return sources

    def _draw(self, sources: dict[str, ImageSource]) -> None:
        from mobileone.data.preview import draw_batches
        from mobileone.training.config.recipe import recipe
        from mobileone.training.method.transforms import transform_at

        assert self.preview is not None
        config = recipe(self.recipe)
        ends = [config.last_epoch(phase) for phase in config.progressive if phase.until < 1]
        at = transform_at(config)
        transforms = [
            (f"{self.recipe}, epoch {epoch + 1}: {size_text(at(epoch).size)} px", at(epoch))
            for epoch in (0, *ends)
        ]
        draw_batches(sources.get("train") or sources["val"], transforms, self.preview, seed=config.seed)
        print(f"{self.preview}: {len(transforms)} batch{'es' * (len(transforms) > 1)}", file=sys.stderr)


def _lines(report: DataReport) -> list[str]:
    """The report for people."""
    header = ["split", "images", "damaged", "classes", "a class: fewest", "median", "most", "height", "width"]
    lines = [aligned_table(header, [_row(name, split) for name, split in report.splits.items()])]
    for name, split in report.splits.items():
        kinds = ", ".join(f"{number} {kind}" for kind, number in split.kinds.items())
        lines.append(f"{name}: {kinds}")
        lines += [f"{name}: {note}" for note in split.notes]
        empty = [label for label, number in split.per_class.items() if not number]
        lines += _named(f"{name}: classes without images", empty)
        damaged = [f"{_from_here(image.path)}: {image.reason}" for image in split.bad]
        lines += _named(f"{name}: damaged", damaged)
        lines += _named(f"{name}: the same bytes", _groups(split.duplicates))
    lines += _named("in both train and val", _groups(report.shared))
    lines += _named("the same bytes, different classes", _groups(report.contradictory))
    lines += _named("look alike in train and val", _groups(report.alike, sign=" ~ "))
    return lines


def _groups(groups: Iterable[Iterable[str]], *, sign: str = " = ") -> list[str]:
    return [sign.join(map(_from_here, group)) for group in groups]


def _from_here(path: str) -> str:
    """A path below the working directory as one would type it; others, and members of shards, as they are."""
    return path.removeprefix(os.path.join(os.getcwd(), ""))


def _row(name: str, split: SplitReport) -> list[str]:
    counts = sorted(split.per_class.values())
    numbers = [split.num_images, len(split.bad), len(counts), counts[0], counts[len(counts) // 2], counts[-1]]
    spread = ["–".join(map(str, (low, middle, high))) for low, middle, high in (split.height, split.width)]
    return [name, *map(str, numbers), *spread]


def _named(title: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = [f"  … and {len(names) - MAX_NAMED} more (--json has all)"] if len(names) > MAX_NAMED else []
    return [f"{title}: {len(names)}", *(f"  {printable(name)}" for name in names[:MAX_NAMED]), *more]
