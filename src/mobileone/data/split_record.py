"""Which side every image of a run was on; of files in a list that every command reads as data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.atomic import atomic_path
from mobileone.data.source import ImageSource
from mobileone.data.subset import image_name, whole_of
from mobileone.errors import DataError
from mobileone.limits import JSON_BYTES
from mobileone.outside_text import json_text, printable
from mobileone.regular_file import open_regular, parse_json_text

RECORD_NAME = "split.jsonl"


def write_sides(path: Path, source: ImageSource, is_val: NDArray[np.bool_]) -> None:
    """A line an image: its path where it is a file of its own, its label or labels, `train` or `val`, and its
    name below the data folder.

    Raises:
        DataError: if a path is not UTF-8, so that no list can name it.
        MobileOneError: if it cannot be written.
    """
    lines, all_labels = [], source.labels
    whole, places = whole_of(source)
    path_of: Any = getattr(whole, "path", None)
    for index in range(len(source)):
        own = np.atleast_1d(all_labels[index])
        names = [source.classes[k] for k in (np.flatnonzero(own) if own.dtype == bool else own)]
        labels: dict[str, Any] = {"labels": names} if own.dtype == bool else {"label": names[0]}
        image = {} if path_of is None else {"image": str(path_of(int(places[index])))}
        side = "val" if is_val[index] else "train"
        try:
            "".join(image.values()).encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(
                f"{printable(image['image'])} is no name in UTF-8, so no list can hold it; rename it"
            ) from None
        lines.append(json_text({**image, **labels, "split": side, "name": image_name(source, index)}))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_sides(path: Path) -> Mapping[str, bool]:
    """Whether an image is for validation, by its name below the data folder.

    Raises:
        DataError: if it cannot be read, or is no such record.
    """
    sides, most = {}, JSON_BYTES.value
    try:
        with open_regular(path) as file:  # a line of every image: the bound of a list is not for all of them
            while line := file.readline(most + 1):
                if len(line) > most:
                    raise ValueError(f"a line is larger than {JSON_BYTES}")
                value = parse_json_text(line)
                sides[str(value["name"])] = value["split"] == "val"
        return sides
    except OSError as error:
        raise DataError(
            f"cannot read {path}, which says what the run holds out: {error.strerror or error}"
        ) from None
    except (ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} does not say what the run holds out ({reason}); it was altered") from None


def recorded_sides(path: Path, source: ImageSource, *, groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The side of every image of a set as a record has it.

    Images that it does not name are for training, but for those of a group that is held out.

    Args:
        path: of the record.
        source: the set.
        groups: a number a group, (N,), of which none is divided.

    Raises:
        DataError: as `read_sides`, or if the record names none of them.
    """
    known = read_sides(path)
    names = [image_name(source, index) for index in range(len(source))]
    if not any(name in known for name in names):
        raise DataError(f"{path} names none of these images; the run was of others")
    is_val = np.array([known.get(name, False) for name in names], dtype=bool)
    is_new = np.array([name not in known for name in names], dtype=bool)
    return is_val | (is_new & np.isin(groups, groups[is_val]))
