"""`mobileone test`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from mobileone.backends.table import Precision, backend_of
from mobileone.class_list import read_class_list
from mobileone.cli.device_option import device_for, device_name
from mobileone.cli.held_out import held_out
from mobileone.cli.output import print_json, result_line
from mobileone.cli.parts_output import is_folder, own_threads, part_bar, tell_failure, tell_report
from mobileone.cli.words import FILE, INPUT_SIZE, MODEL, OUTPUT
from mobileone.errors import ConfigError
from mobileone.input_spec import Size, size_text

if TYPE_CHECKING:
    import torch

    from mobileone.backends.artifact import Artifact
    from mobileone.inference.torch_classifier import TorchClassifier
    from mobileone.ranks.distributed import Distributed


@contextmanager
def ranks_for(source: str, device: str) -> Iterator[Distributed | None]:
    """This process among torchrun's; None for an exported file tested alone, which needs no torch."""
    device = "cpu" if backend_of(source) is not None else device_for(source, device)
    if backend_of(source) is not None and "WORLD_SIZE" not in os.environ:
        yield None
        return
    from mobileone.ranks.distributed import distributed

    with distributed(device) as ranks:
        yield ranks


@dataclass(frozen=True, kw_only=True)
class Test:
    """Accuracy of a model, in inference form, or of an exported file, on labelled images.

    Example: mobileone test mobileone_s0.apple_in1k --data IMAGENET
    """

    model: Annotated[str, MODEL]
    """MODEL, see mobileone --help, or an exported file."""
    data: str
    """Folder with val/<class>/, or with class folders itself; a list of images; shards;
    hf:owner/name on the Hugging Face hub; or `digits`. Of what
    a run of --split or --folds was trained on, the images that it held out are taken."""
    output: Annotated[Path | None, OUTPUT] = None
    """Folder for a result an image instead of the figures, a file a part: a shard, or --part-size images. It
    is gone on with, by any number of processes; `mobileone merge` gives the figures."""
    part_size: int = 1000
    """In a folder: images in a part, of those that are in no shard."""
    part_format: Literal["jsonl", "parquet"] = "jsonl"
    """In a folder: what the parts are written as."""
    exclude: Annotated[Path | None, FILE] = None
    """Leave out the images that this file names: a CSV of `mobileone check-labels`, or a path a line."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels. Default: the model's."""
    crop: float | None = None
    """Share of the resized short side that the centre crop keeps. Default: the model's."""
    classes: Annotated[Path | None, FILE] = None
    """The model's class names in the order of its outputs, a line each or a JSON list; the names that the
    data's folders have. Default: the model's own, without any the folders in text order."""
    batch_size: int = 64
    """Images at a time; does not change the result."""
    workers: int | None = None
    """Loader processes a rank; 0 loads in this one. Default: the rank's share of the cores, 8 at most."""
    no_exif: bool = False
    """Look at photos as they are stored, not turned as their EXIF orientation says."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; exported files run on the CPU, .onnx also on cuda and tensorrt."""
    threads: int | None = None
    """Threads of an exported file's runtime. Default: all cores that may be used."""
    precision: Precision | None = None
    """Arithmetic: of an exported file's runtime, or fp32, bf16 or fp16. Default: the model's."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an image that cannot be decoded, or count it, name it and go on."""
    json: bool = False
    """Print the result as JSON."""

    def _device(self, ranks: Distributed | None) -> str | torch.device | None:
        if backend_of(self.model) is not None:
            return device_for(self.model, self.device)
        return None if ranks is None else ranks.device

    def run(self) -> int:
        from mobileone.evaluation.evaluate import evaluate

        if self.output is not None:
            return self._run_in_parts(self.output)
        with ranks_for(self.model, self.device) as ranks:
            classifier = self._load(self._device(ranks), self.threads)
            result = evaluate(
                classifier,
                held_out(Path(self.model), self.data),
                exclude=self.exclude,
                batch_size=self.batch_size,
                num_workers=self.workers,
                on_bad_image=self.on_bad_image,
                dist=ranks,
            )
            if ranks is not None and not ranks.is_main:
                return 0
        for note in result.notes:
            print(note, file=sys.stderr)
        for path in result.skipped:
            print(f"skipped: {path}", file=sys.stderr)
        spec, runs = classifier.input_spec, str(classifier)
        print(f"{runs}; {size_text(spec.size)} px, {spec.view}", file=sys.stderr)
        if self.json:
            print_json(
                {
                    "model": self.model,
                    "data": self.data,
                    "form": "inference",
                    "runs": runs,
                    "input_spec": spec.to_dict(),
                    **result.to_dict(),
                }
            )
        else:
            print(result_line(result))
        return 0

    def _load(self, device: str | torch.device | None, threads: int | None) -> TorchClassifier | Artifact:
        from mobileone.inference.classifier import load_classifier

        return load_classifier(
            self.model,
            device=device,
            input_size=self.input_size,
            crop=self.crop,
            class_names=None if self.classes is None else read_class_list(self.classes),
            exif=False if self.no_exif else None,
            threads=threads,
            precision=self.precision,
            weights_key=self.weights_key,
        )

    def _run_in_parts(self, output: Path) -> int:
        from mobileone.inference.predictor import Predictor
        from mobileone.parts.evaluate_parts import evaluate_parts

        if not is_folder(output):
            raise ConfigError(f"--output is a folder, without a suffix; got {output}")
        threads = own_threads(self.model, self.threads)
        predictor = Predictor(self._load(device_name(self.model, self.device), threads))
        with part_bar("testing") as show:
            report = evaluate_parts(
                predictor,
                held_out(Path(self.model), self.data),
                output,
                exclude=self.exclude,
                row_format=self.part_format,
                part_size=self.part_size,
                batch_size=self.batch_size,
                workers=2 if self.workers is None else max(self.workers, 1),
                on_bad_image=self.on_bad_image,
                on_failure=tell_failure,
                on_progress=show,
                on_note=lambda note: print(note, file=sys.stderr),
            )
        return tell_report(report, as_json=self.json)
