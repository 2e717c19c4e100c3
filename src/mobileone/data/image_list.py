"""Images named by a list, with one label or several each."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileone.data.folder import ImageFolder, PackedNames
from mobileone.data.layout import TESTING, VALIDATION, Split
from mobileone.data.list_rows import ListRow, read_rows
from mobileone.errors import DataError
from mobileone.outside_text import printable, require_unicode
from mobileone.task import Task


def list_images(
    path: str | Path,
    *,
    split: Split | None,
    classes: Sequence[str] | None = None,
    task: Task | None = None,
) -> ImageFolder:
    """The images of a list, in its order.

    Args:
        path: a .csv, .json or .jsonl file with the columns `image` (a path, from the list's folder) and
            `label` or `labels`, and, if need be, `split` and `group`.
        split: "train" or "val" takes the rows of that split; "val" those of valid or validation, or else of
            the only one of test, eval and dev, and all of a list without the column. None takes all of a
            list that has no such column.
        classes: names that the labels must index into. By default the list's own, of all its splits, sorted.
        task: how many labels an image has; None is as the column's name says.

    Raises:
        DataError: if the list cannot be read, an image is missing or there twice, a label is none of the
            classes, an image has no label or several where it must have one, there is no such split, or a
            class of validation images has none to train on.
    """
    shown, root = printable(path), Path(path).absolute().parent
    rows, own = read_rows(path)
    task = task or own
    _check_images(shown, root, rows)
    if task == "singlelabel":
        wrong = next((row for row in rows if len(row.labels) != 1), None)
        if wrong is not None:
            raise DataError(
                f"{shown}, {wrong.place}: {printable(wrong.image)} has {len(wrong.labels)} labels; each "
                "image must have one, unless task=multilabel"
            )
    names = _class_names(shown, rows, classes)
    chosen, notes = _of_split(shown, rows, split)
    notes += _class_notes(shown, rows, split)
    label_of = {name: label for label, name in enumerate(names)}
    labels: NDArray[np.int64] | NDArray[np.bool_]
    if task == "singlelabel":
        labels = np.array([label_of[row.labels[0]] for row in chosen], dtype=np.int64)
    else:
        labels = np.zeros((len(chosen), len(names)), dtype=bool)
        for place, row in enumerate(chosen):
            labels[place, [label_of[name] for name in row.labels]] = True
        bare = int((~labels.any(1)).sum())
        if bare:
            notes.append(
                f"{shown}: {bare} of {len(chosen)} images have no label: none of the classes is in them"
            )
    return ImageFolder(
        root,
        names,
        labels,
        PackedNames.pack(os.path.normpath(row.image) for row in chosen),
        notes=tuple(notes),
        groups=None if chosen[0].group is None else tuple(row.group or "" for row in chosen),
        recorded=None if chosen[0].name is None else tuple(row.name or "" for row in chosen),
    )


def _check_images(shown: str, root: Path, rows: Sequence[ListRow]) -> None:
    """Refuse images that are not there, and those that are there twice."""
    seen: dict[str, ListRow] = {}
    missing = []
    for row in rows:
        place = os.path.normpath(os.path.join(root, row.image))
        if place in seen:
            raise DataError(
                f"{shown}, {row.place}: {printable(row.image)} is the image of {seen[place].place} already; "
                "leave one of them out (several labels of an image stand in one row)"
            )
        seen[place] = row
        if not os.path.isfile(place):
            missing.append(row)
    if missing:
        raise DataError(
            f"{shown}, {missing[0].place}: {printable(missing[0].image)} is not there"
            + (f" (and {len(missing) - 1} more of {len(rows)} images)" if len(missing) > 1 else "")
            + f"; paths are taken from the list's folder, {printable(root)}"
        )


def _class_names(shown: str, rows: Sequence[ListRow], classes: Sequence[str] | None) -> tuple[str, ...]:
    """The names that labels index into."""
    if classes is None:
        found = tuple(sorted({name for row in rows for name in row.labels}))
        if not found:
            raise DataError(f"{shown}: no image has a label")
        for name in found:
            require_unicode(name, what="a label")
        return found
    known = set(classes)
    for row in rows:
        for name in row.labels:
            if name not in known:
                near = difflib.get_close_matches(name, list(classes), n=1)
                hint = f"; did you mean {printable(near[0])}?" if near else ""
                raise DataError(
                    f"{shown}, {row.place}: label {printable(name)} is none of the {len(classes)} classes "
                    f"({printable(classes[0])} … {printable(classes[-1])}){hint}"
                )
    return tuple(classes)


def _of_split(shown: str, rows: list[ListRow], split: Split | None) -> tuple[list[ListRow], list[str]]:
    """The rows of a split, and what is to be said about their choice."""
    there = list(dict.fromkeys(row.split for row in rows if row.split is not None))
    if not there:
        if split == "train":
            raise DataError(
                f"{shown} has no column split, so which images to train on is not said; add one (train, "
                "val), pass split=0.2 or folds, or validation images of their own as val_data"
            )
        return rows, []
    if split is None:
        raise DataError(
            f"{shown} has a column split ({', '.join(there)}), so it is split already; drop that column"
        )
    wanted, notes = split, []
    if split == "val" and "val" not in there:
        others = [name for name in VALIDATION if name in there] or [name for name in TESTING if name in there]
        if len(others) > 1:
            raise DataError(f"{shown} has the splits {', '.join(others)} and no val; call one of them val")
        if others:
            notes.append(f"{shown} has no split val; {others[0]} is used")
        wanted = others[0] if others else split  # type: ignore[assignment]
    chosen = [row for row in rows if row.split == wanted]
    if not chosen:
        raise DataError(f"{shown} has no row of split {split}, but of {', '.join(there)}")
    return chosen, notes


def _class_notes(shown: str, rows: Sequence[ListRow], split: Split | None) -> list[str]:
    """Refuse classes that cannot be learnt, and name those that cannot be measured."""
    if split is None or all(row.split is None for row in rows):
        return []
    sides = [
        {name for row in rows if (row.split == "train") == is_train for name in row.labels}
        for is_train in (True, False)
    ]
    if not all(sides):
        return []  # a list of one split
    untrained, untested = (sorted(a - b) for a, b in (sides[::-1], sides))
    if untrained and split == "train":
        more = f" (and {len(untrained) - 1} more)" if len(untrained) > 1 else ""
        raise DataError(
            f"{shown}: label {printable(untrained[0])}{more} has no image of split train, so it cannot be "
            "learnt; move some there, or leave it out"
        )
    if untested and split == "val":
        more = f" (and {len(untested) - 1} more)" if len(untested) > 1 else ""
        return [
            f"{shown}: label {printable(untested[0])}{more} has images of split train alone, so it is not "
            "measured"
        ]
    return []
