"""How right a network is on a set of any size: a file of results a part, by any number of processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mobileone.class_list import guessed_order
from mobileone.data.open import open_data
from mobileone.data.shards.address import is_shards
from mobileone.data.source import ImageSource, notes_of
from mobileone.data.subset import image_name, leave_out
from mobileone.errors import ConfigError, DataError
from mobileone.evaluation.evaluate import check_classes
from mobileone.evaluation.label_metrics import require_scikit_learn
from mobileone.imagenet import resolve_classes
from mobileone.inference.predictor import Predictor
from mobileone.parts.data_part import PART_SIZE, DataPart, named_shards, shard_parts, source_parts
from mobileone.parts.parts_manifest import manifest_of
from mobileone.parts.result_folder import ResultFolder
from mobileone.parts.row_file import RowFormat
from mobileone.parts.rows import Reading, judged_rows
from mobileone.parts.work_through import PartsReport, work_through

if TYPE_CHECKING:
    from mobileone.data.loader import OnBadImage


def evaluate_parts(
    predictor: Predictor,
    data: str | ImageSource,
    output: str | os.PathLike[str],
    *,
    exclude: str | Path | None = None,
    row_format: RowFormat = "jsonl",
    part_size: int = PART_SIZE,
    batch_size: int | None = None,
    workers: int = 2,
    on_bad_image: OnBadImage = "error",
    on_failure: Callable[[str, str], None] = lambda name, reason: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> PartsReport:
    """Test on what is not done yet, beside any number of processes that were started alike.

    As `mobileone.predict_parts`, with the data of `mobileone.evaluate`; a row has an image's label, the place
    that it has among the logits, and the loss. `mobileone.merge` counts all rows at once, so that the figures
    are those of one process.

    Args:
        predictor: of a network of ours, or of an exported file.
        data: a data folder or list, of which the validation part is taken, shards with indexes,
            `"digits"`, or an `ImageSource`.
        output: folder of the results.
        exclude: a file that names images to leave out; not of shards.
        row_format: "jsonl" or "parquet".
        part_size: images that are in no shard in a part.
        batch_size: images at a time; None is 32, for an exported file 8 or what it takes.
        workers: threads that decode.
        on_bad_image: "error" fails the part of an image that cannot be decoded; "skip" writes why.
        on_failure: told a part's name and why its data cannot be used; the others go on.
        on_progress: told how many parts are done, of how many.
        on_note: told what was chosen, guessed or left out in finding images and labels.

    Raises:
        ConfigError: on values out of range, or a folder of something else.
        DataError: if the data's classes are not the model's.
        InferenceError, MissingExtraError, MobileOneError: as `mobileone.predict_parts`.
    """
    reading = Reading(batch_size=batch_size, workers=workers, on_bad_image=on_bad_image)
    model = predictor.classifier
    classes = resolve_classes(model.num_classes, model.class_names)
    if predictor.task == "multilabel":
        require_scikit_learn()
    if isinstance(data, str) and data != "digits" and is_shards(data):
        if exclude is not None:
            raise ConfigError(
                f"exclusions are for folders and lists; pack the shards without those of {exclude}"
            )
        parts = shard_parts(named_shards(data), classes=classes, labelled=True)
        class_names = classes or _classes_of(parts)
    else:
        source = data
        if isinstance(source, str):
            source = open_data(source, split="val", classes=classes, task=predictor.task)
        if exclude is not None:
            (source,) = leave_out(exclude, source)
        for note in notes_of(source):
            on_note(note)
        if classes is None and isinstance(data, str) and data != "digits":
            on_note(guessed_order(source.classes))
        check_classes(model, source)
        names = [image_name(source, index) for index in range(len(source))]
        parts = source_parts(source, names, part_size=part_size)
        class_names = source.classes
    asked = {"part_size": part_size, "class_names": list(class_names)}
    manifest = manifest_of(predictor, parts, task="test", row_format=row_format, asked=asked)
    return work_through(
        ResultFolder(output, manifest),
        parts,
        partial(judged_rows, predictor, reading=reading),
        on_failure=on_failure,
        on_progress=on_progress,
    )


def _classes_of(parts: Sequence[DataPart]) -> tuple[str, ...]:
    """Those of the first shard that can be opened.

    Raises:
        DataError: if none can.
    """
    for part in parts:
        try:
            source = part.open().source
        except DataError as error:
            reason = error
            continue
        assert source is not None
        return tuple(source.classes)
    raise reason
