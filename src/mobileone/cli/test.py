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
from mobileone.cli.device_option import device_for
from mobileone.cli.output import print_json, result_line
from mobileone.cli.words import FILE, INPUT_SIZE, MODEL
from mobileone.input_spec import Size, size_text

if TYPE_CHECKING:
    import torch

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


def held_out(model: str, data: str) -> str:
    """The images to test on: of data that a run divided by itself only those that it did not train on.

    Args:
        model: as it was given; a run's folder says what it held out.
        data: as it was given.
    """
    record = Path(model) / "split.jsonl"
    if not record.is_file() or data == str(record):
        return data
    from mobileone.training.run.run_dir import RunDir

    if os.path.realpath(data) != os.path.realpath(RunDir(Path(model)).stored_config().data):
        return data
    print(f"{model} trained on a part of {data}: tested on the rest, as {record} says", file=sys.stderr)
    return str(record)


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
        from mobileone.inference.classifier import load_classifier

        with ranks_for(self.model, self.device) as ranks:
            classifier = load_classifier(
                self.model,
                device=self._device(ranks),
                input_size=self.input_size,
                crop=self.crop,
                class_names=None if self.classes is None else read_class_list(self.classes),
                exif=False if self.no_exif else None,
                threads=self.threads,
                precision=self.precision,
                weights_key=self.weights_key,
            )
            result = evaluate(
                classifier,
                held_out(self.model, self.data),
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
