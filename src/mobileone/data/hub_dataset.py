"""Data sets of the Hugging Face hub, and folders that its library wrote, as `ImageSource`.

The library (extra `datasets`) fetches them and keeps them as Arrow files in its own cache, from which any
image is read by its number: order, ranks and resuming are those of a folder. With `?stream=true` their
Parquet files are read where they are (hub_parquet.py), in the order of shards behind URLs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobileone.data.folder import PackedNames
from mobileone.data.hub_address import HubAddress, is_saved_here, parse_hub_address
from mobileone.data.hub_files import own_places, path_inside
from mobileone.data.hub_parquet import ParquetTable
from mobileone.data.hub_table import ArrowTable, HubTable, first_line, hub_reason
from mobileone.data.layout import TESTING, VALIDATION
from mobileone.data.source import Labels
from mobileone.distribution import pip_install
from mobileone.errors import BadImageError, DataError, MissingExtraError, MobileOneError
from mobileone.images.decode import EncodedImage
from mobileone.limits import IMAGE_BYTES
from mobileone.outside_text import printable, require_unicode
from mobileone.regular_file import read_regular

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class HubImages:
    """The images of one split, by number.

    Args:
        table: the split.
        column: of the images.
        title: what it is called: `hf:owner/name:train`.
        notes: what is to be said about its choice.

    Attributes:
        files: what the images are called: their files' names where each has one of its own, else numbers.
        split: which it is, by its name.
    """

    def __init__(self, table: HubTable, column: str, title: str, notes: Sequence[str]) -> None:
        self._table = table
        self._column, self._title, self.notes = column, printable(title), tuple(notes)
        self.split = title.rpartition(":")[2]
        self.files = PackedNames.pack(_names(table, column))

    def __len__(self) -> int:
        return len(self._table)

    def name(self, index: int) -> str:
        """Split and the image's own name: `hf:owner/name:train: 17`."""
        return f"{self._title}: {printable(self.files[index])}"

    def read(self, index: int) -> EncodedImage:
        """Content of an image.

        Raises:
            BadImageError: if there is none, or its file cannot be read.
            DataError: if the data set's files are damaged or gone, or a row names a file of somebody else's.
        """
        name = self.name(index)
        try:
            cell = self._table.cell(self._column, index)
        except DataError:
            raise
        except Exception as error:  # Arrow's own, of no common base
            raise DataError(f"{name}: cannot be read ({first_line(error)})") from error
        if cell.get("bytes"):
            return EncodedImage(name, cell["bytes"])
        if not cell.get("path"):
            raise BadImageError(f"{name}: there is no image in this row")
        path = path_inside(cell["path"], self._table.places)
        if path is None:
            raise DataError(
                f"{self._title}: row {index} names the file {printable(cell['path']):.200}, which is not the "
                "data set's own, so it is not read; its images must lie in its folder or in its rows"
            )
        try:
            return EncodedImage(name, read_regular(path, IMAGE_BYTES))
        except OSError as error:
            raise BadImageError(f"{name}: cannot be read ({error.strerror or error})") from error


class LabelledHubImages(HubImages):
    """The same with labels.

    Attributes:
        classes: class names, which the labels index into.
        labels: class index of every image, int64 (N,), or with several labels whether it has each, bool
            (N, K).
    """

    def __init__(
        self,
        table: HubTable,
        column: str,
        title: str,
        notes: Sequence[str],
        *,
        classes: tuple[str, ...],
        labels: Labels,
    ) -> None:
        super().__init__(table, column, title, notes)
        self.classes, self.labels = classes, labels


class StreamedHubImages(LabelledHubImages):
    """The same, their files read where they are; a `StreamedSource`."""

    _table: ParquetTable

    def epoch_order(self, generator: torch.Generator) -> Tensor:
        """Every image once, shuffled so that few row groups are in use at a time; int64 (num_images,)."""
        return self._table.epoch_order(generator)

    def expect(self, indices: Sequence[int]) -> None:
        """Begin to fetch the row groups of images that will be read soon."""
        self._table.expect(self._column, indices)


def open_hub_data(
    data: str | os.PathLike[str],
    *,
    split: Literal["train", "val"] | None,
    classes: Sequence[str] | None = None,
    beside: bool = False,
) -> LabelledHubImages:
    """The labelled images of a data set.

    Args:
        data: `hf:owner/name[@revision][:split][?config=…&image=…&label=…&stream=true]`, or
            `hf:FOLDER…`.
        split: what they are for, where the address names no split. "val" takes validation, valid or val, else
            the only one of test, eval and dev. None takes a data set of a single split.
        classes: names that the labels must index into; None takes the data set's own.
        beside: the address is that of the training images, and the others of the data set are wanted.

    Raises:
        DataError: if there is no such data set, split or column, several that could be meant, or an image
            without label.
        MissingExtraError: without the package datasets.
    """
    address = parse_hub_address(data)
    table, title, notes = _open(address, split=split, beside=beside)
    image = _image_column(table, address)
    label = _label_column(table, address)
    own, labels = _labels(table, label, title)
    names = own if classes is None else tuple(classes)
    return _labelled(address)(
        table, image, title, notes, classes=names, labels=_reindexed(labels, own, names, title)
    )


def open_hub_images(data: str | os.PathLike[str]) -> HubImages:
    """The images of a data set, with labels if it is plain where they are.

    Of several splits the one for validation is taken, unless the address names another.

    Raises:
        DataError: as `open_hub_data`, but for labels.
        MissingExtraError: likewise.
    """
    address = parse_hub_address(data)
    table, title, notes = _open(address, split="val", beside=False)
    image = _image_column(table, address)
    try:
        own, labels = _labels(table, _label_column(table, address), title)
    except DataError:
        return HubImages(table, image, title, notes)
    return _labelled(address)(table, image, title, notes, classes=own, labels=labels)


def hub_splits(data: str | os.PathLike[str]) -> set[str]:
    """Names of a data set's splits; the one that the address names, if it names one.

    Raises:
        DataError: if there is no such data set.
        MissingExtraError: without the package datasets.
    """
    address = parse_hub_address(data)
    return {address.split} if address.split else set(_splits(address))


def _labelled(address: HubAddress) -> type[LabelledHubImages]:
    return StreamedHubImages if address.stream else LabelledHubImages


def _open(
    address: HubAddress, *, split: Literal["train", "val"] | None, beside: bool
) -> tuple[HubTable, str, list[str]]:
    """The table of a split, what it is called, and what is to be said about its choice."""
    splits = _splits(address)
    # Beside the split for training that an address names is the one for validation.
    wanted = None if beside and address.split not in (*VALIDATION, *TESTING) else address.split
    notes: list[str] = []
    if wanted is None:
        wanted, notes = _chosen(address, tuple(splits), split)
    if wanted not in splits:
        raise DataError(f"{printable(str(address))} has no split {printable(wanted)}, but {_listed(splits)}")
    if not len(splits[wanted]):
        raise DataError(f"{printable(str(address))}:{printable(wanted)} has no images")
    return splits[wanted], f"{address}:{wanted}", notes


def _splits(address: HubAddress) -> Mapping[str, HubTable]:
    """Every split's table, by its name."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            f"data sets of the hub need the package datasets, not there; {pip_install('datasets')}"
        ) from error
    folder, shown = address.folder, printable(str(address))
    if folder is not None and not folder.is_dir():
        raise DataError(f"{shown}: no such folder")
    saved, place = is_saved_here(f"{address}"), address.place if folder is None else str(folder)
    if saved and address.stream:
        raise DataError(
            f"{shown} is on this machine as Arrow files, so nothing streams; leave out stream=true"
        )
    try:
        if address.stream:
            return _parquet_splits(
                datasets.load_dataset_builder(place, name=address.config, revision=address.revision), shown
            )
        if saved:
            found = datasets.load_from_disk(place)
        else:
            found = datasets.load_dataset(place, name=address.config, revision=address.revision)
    except MobileOneError:
        raise
    except Exception as error:  # the library's, Arrow's and the network's, of no common base
        raise DataError(f"cannot open {shown}: {hub_reason(error)}") from error
    if isinstance(found, datasets.Dataset):
        found = {found.split or "train": found}
    places = own_places(folder)
    return {str(name): ArrowTable(table, places=places) for name, table in found.items()}


def _parquet_splits(builder: Any, shown: str) -> Mapping[str, HubTable]:
    """Every split's Parquet files, by its name; none is opened yet."""
    kind = type(builder).__module__.rpartition(".")[2]  # the class may be named after the data set
    if kind != "parquet":
        raise DataError(
            f"{shown} is kept as {kind}, and only Parquet streams; leave out stream=true, or "
            "try the hub's own copy in Parquet, @refs/convert/parquet"
        )
    return {
        str(name): ParquetTable(list(map(str, files)), features=builder.info.features)
        for name, files in builder.config.data_files.items()
    }


def _chosen(
    address: HubAddress, splits: Sequence[str], split: Literal["train", "val"] | None
) -> tuple[str, list[str]]:
    """The split that is for training or validation, and what is to be said about that."""
    shown = printable(str(address))
    if split is None:
        if len(splits) > 1:
            raise DataError(
                f"{shown} has the splits {_listed(splits)}, so it is divided already; name one, as "
                f"{shown}:{printable(splits[0])}, or leave split and folds out"
            )
        return splits[0], []
    if split == "train":
        if "train" in splits:
            return "train", []
        raise DataError(f"{shown} has no split train, but {_listed(splits)}; name one, as {shown}:SPLIT")
    for names in (VALIDATION, TESTING):
        there = [name for name in splits if name in names]
        if len(there) > 1:
            raise DataError(f"{shown} has the splits {_listed(there)}; name one, as {shown}:{there[0]}")
        if there:
            notes = (
                [] if names is VALIDATION else [f"{shown} has no split for validation; {there[0]} is used"]
            )
            return there[0], notes
    raise DataError(
        f"{shown} has no split for validation, but {_listed(splits)}; pass split=0.2 or folds to hold images "
        f"out, validation images of their own as val_data, or name a split, as {shown}:{printable(splits[0])}"
    )


def _image_column(table: HubTable, address: HubAddress) -> str:
    from datasets import Image

    found = [name for name, feature in table.features.items() if isinstance(feature, Image)]
    return _column("image", address.image, found, table, address)


def _label_column(table: HubTable, address: HubAddress) -> str:
    found = [name for name, feature in table.features.items() if _class_names(feature) is not None]
    if address.label is not None and address.label in table.features and address.label not in found:
        kind = getattr(table.features[address.label], "dtype", "")
        if str(kind) == "string" or str(kind).startswith(("int", "uint", "bool")):
            return str(address.label)
    return _column("label", address.label, found, table, address)


def _column(kind: str, named: str | None, found: list[str], table: HubTable, address: HubAddress) -> str:
    shown = printable(str(address))
    if named is not None and named not in found:
        what = "is no column of it" if named not in table.features else f"holds no {kind}s"
        raise DataError(f"{shown}: {printable(named):.60} {what}; its columns are {_columns(table)}")
    if named is not None:
        return named
    if not found:
        hint = "; name one by ?label=COLUMN" if kind == "label" else ""
        raise DataError(f"{shown} has no {kind} column by its types, but {_columns(table)}{hint}")
    if len(found) > 1:
        raise DataError(
            f"{shown} has the {kind} columns {_listed(found)}; name one, as "
            f"{shown}?{kind}={printable(found[0])}"
        )
    return found[0]


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Names of the classes of a column with a label an image, or with several; None for any other."""
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
    names = getattr(inner, "names", None)
    return None if names is None or isinstance(inner, dict) else tuple(names)


def _labels(table: HubTable, column: str, title: str) -> tuple[tuple[str, ...], Labels]:
    """Class names and labels of a column."""
    feature, values = table.features[column], table.values(column)
    names = _class_names(feature)
    if names is None:  # a column of texts or numbers, which was named
        names = tuple(map(str, sorted({value for value in values if value is not None})))
        number = {name: place for place, name in enumerate(names)}
        values = [-1 if value is None else number[str(value)] for value in values]
    for name in names:
        require_unicode(name, what="a class name")
    if any(isinstance(value, list) for value in values):
        several = np.zeros((len(values), len(names)), bool)
        for row, chosen in enumerate(values):
            several[row, [label for label in chosen or () if label is not None and label >= 0]] = True
        return names, several
    labels: NDArray[np.int64] = np.array([-1 if value is None else value for value in values], np.int64)
    bare = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(bare):
        raise DataError(
            f"{printable(title)}: {len(bare)} of {len(labels)} images have no label in {printable(column)}, "
            f"the first is number {bare[0]}; take another split, or another column by ?label="
        )
    return names, labels


def _reindexed(labels: Labels, own: tuple[str, ...], names: tuple[str, ...], title: str) -> Labels:
    """Labels that index into other names."""
    if own == names:
        return labels
    place = {name: index for index, name in enumerate(names)}
    used = np.flatnonzero(labels.any(0)) if labels.ndim == 2 else np.unique(labels)
    foreign = [own[label] for label in used if own[label] not in place]
    if foreign:
        raise DataError(
            f"{printable(title)}: {printable(foreign[0])} is none of the {len(names)} classes "
            f"({printable(names[0])} … {printable(names[-1])})"
        )
    moved = np.array([place.get(name, -1) for name in own], np.int64)
    if labels.ndim == 1:
        return moved[labels]
    several = np.zeros((len(labels), len(names)), bool)
    several[:, moved[used]] = labels[:, used]
    return several


def _names(table: HubTable, column: str) -> list[str]:
    """The images' file names, if each has one of its own; else their numbers."""
    names = [os.path.basename(path) for path in table.paths(column) if path]
    return names if len(set(names)) == len(table) else list(map(str, range(len(table))))


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _columns(table: HubTable) -> str:
    return _listed([f"{name} ({_kind(feature)})" for name, feature in table.features.items()])


def _kind(feature: Any) -> str:
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind
