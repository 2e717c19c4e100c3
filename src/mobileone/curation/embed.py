"""Images to vectors: a folder, or any set, through a network without its last layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileone.curation.embeddings import Embeddings
from mobileone.data.folder import class_name, image_files
from mobileone.data.hub_address import is_hub_data
from mobileone.data.hub_dataset import LabelledHubImages, open_hub_images
from mobileone.data.layout import SPLIT_NAMES
from mobileone.data.open import open_data
from mobileone.data.source import ImageSource, labels_task
from mobileone.data.subset import image_name
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.heap import kept_heap
from mobileone.images.any_image import AnyImage
from mobileone.inference.ahead import map_ahead
from mobileone.inference.classifier import Classifier, array_embeddings
from mobileone.inference.predictor import Predictor
from mobileone.input_spec import sides
from mobileone.outside_text import printable
from mobileone.progress_bar import progress_bar

if TYPE_CHECKING:
    from mobileone.data.loader import OnBadImage
    from mobileone.model.network import MobileOne


@kept_heap()
def embed(
    model: MobileOne | Classifier | Predictor,
    data: str | Path | ImageSource,
    *,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: OnBadImage = "error",
    on_skipped: Callable[[str], None] = lambda reason: None,
    progress: bool = True,
) -> Embeddings:
    """Pooled features of every image of a set, what the network's last linear layer reads.

    Args:
        model: a network of ours, in eval mode; a `Predictor`; or a file exported with num_classes=0.
        data: a folder, of which all images below are taken (those in folders have these as their labels, but
            for train, val and the like); a list, shards or `"digits"`, of which the validation part; or an
            `ImageSource`.
        batch_size: images at a time.
        workers: threads that decode.
        on_bad_image: `"error"`, or `"skip"` to leave unreadable images out.
        on_skipped: told why, for each.
        progress: whether to show a bar on stderr.

    Raises:
        ConfigError: if the model gives no embeddings, or on values out of range.
        DataError: if there are no images, or none can be read.
        BadImageError: on an unreadable image under `"error"`.
    """
    if batch_size < 1 or workers < 1:
        raise ConfigError(f"batch_size and workers must be at least 1, got {batch_size} and {workers}")
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    names, labels, read, folder = embedded_images(data)

    def view(index: int) -> NDArray[np.uint8] | BadImageError:
        try:
            return predictor.view(read(index))
        except BadImageError as error:
            if on_bad_image == "error":
                raise
            return error

    bar = progress_bar(range(len(names)), title="embedding", unit="image", hidden=not progress)
    kept: list[int] = []

    def good() -> Iterator[NDArray[np.uint8]]:
        for index, made in enumerate(map_ahead(view, bar, workers=workers, ahead=2 * batch_size)):
            if isinstance(made, BadImageError):
                on_skipped(str(made))
            else:
                kept.append(index)
                yield made

    views, parts = good(), [embed_probe(predictor)]
    while batch := list(islice(views, batch_size)):
        parts.append(array_embeddings(predictor.classifier, np.stack(batch)))
    if not kept:
        raise DataError(f"no image of {len(names)} could be read")
    vectors = np.concatenate(parts)
    return Embeddings(
        vectors=vectors[1:],
        names=tuple(names[index] for index in kept),
        labels=None if labels is None else tuple(labels[index] for index in kept),
        folder=folder,
        model=str(predictor.classifier),
        probe=vectors[0],
    )


def embed_probe(predictor: Predictor) -> NDArray[np.float32]:
    """Of a picture that is always the same, (1, D): a slope in each colour."""
    height, width = sides(predictor.input_spec.size)
    rows, columns = np.mgrid[:height, :width]
    colours = (255 * rows // height, 255 * columns // width, (rows + columns) % 256)
    return array_embeddings(predictor.classifier, np.stack(colours, 2).astype(np.uint8)[None])


def embedded_images(
    data: str | Path | ImageSource,
) -> tuple[list[str], list[str] | None, Callable[[int], AnyImage], str]:
    """Names, labels, what reads an image by its number, and the folder."""
    if isinstance(data, str | Path) and Path(data).is_dir():
        paths = image_files(data)
        names = [printable(path.relative_to(data).as_posix()) for path in paths]
        found = [path_label(path.relative_to(data)) for path in paths]
        labels = [label for label in found if label is not None]
        return names, labels if len(labels) == len(names) else None, paths.__getitem__, str(data)
    if isinstance(data, str) and is_hub_data(data):
        images = open_hub_images(data)
        if not isinstance(images, LabelledHubImages):
            return [images.name(index) for index in range(len(images))], None, images.read, ""
        data = images
    source = open_data(data, split="val") if isinstance(data, str | Path) else data
    names = [image_name(source, index) for index in range(len(source))]
    several = (
        labels_task(source.labels) == "multilabel"
    )  # which of them a look-alike should share is not said
    return names, None if several else [source.classes[label] for label in source.labels], source.read, ""


def path_label(path: str | Path) -> str | None:
    """The class that a path below a folder tells: the first folder that is no split's.

    >>> path_label("train/cat/1.jpg"), path_label("1.jpg")
    ('cat', None)
    """
    folders = [name for name in Path(path).parts[:-1] if name.lower() not in SPLIT_NAMES]
    return class_name(folders[0]) if folders else None
