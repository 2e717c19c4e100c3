"""What a network sees in a set of any size: a file of results a part, by any number of processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mobileone.inference.predictor import Predictor
from mobileone.parts.data_part import PART_SIZE, named_parts
from mobileone.parts.parts_manifest import manifest_of
from mobileone.parts.result_folder import ResultFolder
from mobileone.parts.row_file import RowFormat
from mobileone.parts.rows import Reading, predicted_rows
from mobileone.parts.work_through import PartsReport, work_through

if TYPE_CHECKING:
    from mobileone.data.loader import OnBadImage


def predict_parts(
    predictor: Predictor,
    images: Sequence[str],
    output: str | os.PathLike[str],
    *,
    topk: int = 5,
    row_format: RowFormat = "jsonl",
    part_size: int = PART_SIZE,
    batch_size: int | None = None,
    workers: int = 2,
    on_bad_image: OnBadImage = "error",
    on_failure: Callable[[str, str], None] = lambda name, reason: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> PartsReport:
    """Classify what is not done yet, beside any number of processes that were started alike.

    Each shard, and each `part_size` images that are in no shard, become one file in `output`, which appears
    whole. `mobileone.merge` makes one of them all, and proves that every image is in it once.

    Args:
        predictor: of a network of ours, or of an exported file.
        images: image files, folders of them, lists of images, and shards, with indexes or without.
        output: folder of the results; what is in it is kept, and must be of the same network, options and
            images.
        topk: classes to name for each image; at most all.
        row_format: "jsonl", a line an image as `Prediction.to_dict`; or "parquet".
        part_size: images that are in no shard in a part.
        batch_size: images classified at a time; None is as of `Predictor.stream`.
        workers: threads that decode.
        on_bad_image: "error" fails the part of an image that cannot be decoded; "skip" writes why.
        on_failure: told a part's name and why its data cannot be used; the others go on.
        on_progress: told how many parts are done, of how many.
        on_note: told of files that are no images.

    Raises:
        ConfigError: on values out of range, an image that is named twice, or a folder of something else.
        DataError: if there are no images.
        InferenceError: if the network gives no usable answer.
        MissingExtraError: for Parquet without pyarrow, for braces and URLs without webdataset.
        MobileOneError: if results cannot be written.
    """
    predictor.stream([], topk=topk)  # refuses a network without classes
    reading = Reading(batch_size=batch_size, workers=workers, on_bad_image=on_bad_image)
    parts = named_parts(images, part_size=part_size, on_note=on_note)
    asked = {"topk": topk, "part_size": part_size}
    manifest = manifest_of(predictor, parts, task="predict", row_format=row_format, asked=asked)
    return work_through(
        ResultFolder(output, manifest),
        parts,
        partial(predicted_rows, predictor, topk=topk, reading=reading),
        on_failure=on_failure,
        on_progress=on_progress,
    )
