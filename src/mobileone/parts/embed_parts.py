"""Vectors of a set of any size: a file of results a part, by any number of processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mobileone.curation.embed import embed_probe, embedded_images
from mobileone.data.shards.address import is_shards
from mobileone.inference.predictor import Predictor
from mobileone.parts.data_part import PART_SIZE, file_parts, named_shards, shard_parts
from mobileone.parts.parts_manifest import manifest_of
from mobileone.parts.result_folder import ResultFolder
from mobileone.parts.row_file import RowFormat
from mobileone.parts.rows import Reading, embedded_rows
from mobileone.parts.work_through import PartsReport, work_through

if TYPE_CHECKING:
    from mobileone.data.loader import OnBadImage


def embed_parts(
    predictor: Predictor,
    data: str,
    output: str | os.PathLike[str],
    *,
    row_format: RowFormat = "parquet",
    part_size: int = PART_SIZE,
    batch_size: int | None = None,
    workers: int = 2,
    on_bad_image: OnBadImage = "error",
    on_failure: Callable[[str, str], None] = lambda name, reason: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PartsReport:
    """Pooled features of what is not done yet, beside any number of processes that were started alike.

    As `mobileone.predict_parts`, with the data of `mobileone.embed`: a folder, of which all images are taken,
    a list, `"digits"`, a data set of the hub, or shards; these need no index here, but have labels only with
    one. A part in Parquet is a file of `Embeddings`, and so is what `mobileone.merge` makes of all.

    Args:
        predictor: of a network of ours, or of a file exported with num_classes=0.
        data: what to embed.
        output: folder of the results.
        row_format: "parquet", or "jsonl".
        part_size: images that are in no shard in a part.
        batch_size: images at a time; None is 32, for an exported file 8 or what it takes.
        workers: threads that decode.
        on_bad_image: "error" fails the part of an image that cannot be decoded; "skip" writes why.
        on_failure: told a part's name and why its data cannot be used; the others go on.
        on_progress: told how many parts are done, of how many.

    Raises:
        ConfigError: on values out of range, a folder of something else, or if the model gives no embeddings.
        DataError, MissingExtraError, MobileOneError: as `mobileone.predict_parts`.
    """
    reading = Reading(batch_size=batch_size, workers=workers, on_bad_image=on_bad_image)
    if data != "digits" and is_shards(data):
        parts, folder = shard_parts(named_shards(data)), ""
    else:
        names, labels, read, folder = embedded_images(data)
        parts = file_parts(names, part_size=part_size, read=read, labels=labels or ())
    told = {"folder": folder, "model": str(predictor.classifier), "probe": embed_probe(predictor)[0].tolist()}
    manifest = manifest_of(
        predictor, parts, task="embed", row_format=row_format, asked={"part_size": part_size}, told=told
    )
    return work_through(
        ResultFolder(output, manifest),
        parts,
        partial(embedded_rows, predictor, reading=reading),
        on_failure=on_failure,
        on_progress=on_progress,
    )
