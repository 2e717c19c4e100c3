"""`mobileone embed`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.cli.device_option import device_name
from mobileone.cli.output import print_json
from mobileone.cli.parts_output import is_folder, own_threads, part_bar, tell_failure, tell_report
from mobileone.cli.target_file import refuse_existing, require_target


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Vectors of images for search, clustering and the like: what the model's last layer reads.

    Of images in class folders it also says how often a look-alike is of the same class (recall@k).

    Example: mobileone embed runs/mine DIR -o vectors.npy
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help, or a file exported from a network without classifier."""
    data: Annotated[Positional[str], arg(metavar="DIR")]
    """Folder of images; shards, a list, hf:owner/name or `digits`, of which the validation part."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """File to write: .npy, with the names in .npy.json beside it, or .parquet. A folder gets a file a part: a
    shard, or --part-size images; it is gone on with, by any number of processes."""
    part_size: int = 1000
    """In a folder: images in a part, of those that are in no shard."""
    part_format: Literal["parquet", "jsonl"] = "parquet"
    """In a folder: what the parts are written as."""
    batch_size: int = 32
    """Images at a time."""
    workers: int = 2
    """Threads that decode meanwhile."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an image that cannot be decoded, or name it and go on."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    force: bool = False
    """Overwrite an existing file."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.curation.embed import embed
        from mobileone.curation.embeddings import check_suffix, files_of
        from mobileone.curation.neighbours import recall_at_k
        from mobileone.errors import DataError, MissingExtraError
        from mobileone.inference.predictor import Predictor

        if is_folder(self.output):
            return self._run_in_parts()
        check_suffix(self.output)
        refuse_existing(*files_of(self.output), force=self.force)
        require_target(self.output, self.output.suffix)
        predictor = Predictor.load(
            self.model, device=device_name(self.model, self.device), weights_key=self.weights_key
        )
        vectors = embed(
            predictor,
            self.data,
            batch_size=self.batch_size,
            workers=self.workers,
            on_bad_image=self.on_bad_image,
            on_skipped=lambda reason: print(f"skipped: {reason}", file=sys.stderr),
        )
        vectors.write(self.output)
        recall: dict[int, float] = {}
        try:
            if vectors.labels is not None:
                recall = recall_at_k(vectors.vectors, vectors.labels)
        except (DataError, MissingExtraError) as error:  # the vectors are what was asked for
            print(f"no recall: {error}", file=sys.stderr)
        number, size = vectors.vectors.shape
        if self.json:
            told = {"path": str(self.output), "images": number, "size": size}
            print_json(told | {"recall": {str(k): share for k, share in recall.items()}})
            return 0
        print(f"wrote {self.output}: {number} vectors of {size}")
        if recall:
            shares = ", ".join(f"@{k} {100 * share:.1f} %" for k, share in recall.items())
            print(f"recall of the class among the nearest others: {shares}")
        return 0

    def _run_in_parts(self) -> int:
        from mobileone.errors import ConfigError
        from mobileone.inference.predictor import Predictor
        from mobileone.parts.embed_parts import embed_parts

        if self.force:
            raise ConfigError(f"--force is for a single file; {self.output} is a folder, and is gone on with")
        predictor = Predictor.load(
            self.model,
            device=device_name(self.model, self.device),
            threads=own_threads(self.model, None),
            weights_key=self.weights_key,
        )
        with part_bar("embedding") as show:
            report = embed_parts(
                predictor,
                self.data,
                self.output,
                row_format=self.part_format,
                part_size=self.part_size,
                batch_size=self.batch_size,
                workers=self.workers,
                on_bad_image=self.on_bad_image,
                on_failure=tell_failure,
                on_progress=show,
            )
        return tell_report(report, as_json=self.json)
