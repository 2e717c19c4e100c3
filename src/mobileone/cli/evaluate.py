"""`mobileone test` and `mobileone predict`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.cli.output import print_json, result_line
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec

if TYPE_CHECKING:
    from mobileone.model.network import MobileOne


def load_fused(source: str, *, input_size: int | None = None, crop: float | None = None) -> MobileOne:
    """The model in inference form; `input_size` and `crop` replace those of its input spec."""
    from mobileone.checkpoint.load import load_model

    model = load_model(source, form="inference")
    spec = model.input_spec
    given = {"size": input_size, "crop": crop}
    model.input_spec = InputSpec(**spec.to_dict() | {k: v for k, v in given.items() if v is not None})
    return model


@dataclass(frozen=True, kw_only=True)
class Test:
    """Accuracy of a model, in inference form, on labelled images.

    Example: mobileone test mobileone_s0.apple_in1k --data IMAGENET
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help."""
    data: str
    """Folder with val/<class>/, or with class folders itself, or `digits`."""
    input_size: int | None = None
    """Side of the square input, pixels. Default: the model's."""
    crop: float | None = None
    """Share of the resized short side that the centre crop keeps. Default: the model's."""
    batch_size: int = 64
    """Images at a time; does not change the result."""
    workers: int = 2
    """Loader processes."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an image that cannot be decoded, or count it, name it and go on."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.evaluation.run import evaluate
        from mobileone.train.distributed import distributed

        model = load_fused(self.model, input_size=self.input_size, crop=self.crop)
        with distributed(self.device) as ranks:
            result = evaluate(
                model,
                self.data,
                batch_size=self.batch_size,
                num_workers=self.workers,
                device=ranks.device,
                on_bad_image=self.on_bad_image,
                dist=ranks,
            )
            if not ranks.is_main:
                return 0
        for path in result.skipped:
            print(f"skipped: {path}", file=sys.stderr)
        spec = model.input_spec
        print(f"fused; {spec.size} px, crop {spec.crop}, {spec.interpolation}", file=sys.stderr)
        if self.json:
            print_json(
                {
                    "model": self.model,
                    "data": self.data,
                    "form": model.form,
                    "input_spec": spec.to_dict(),
                    **result.to_dict(),
                }
            )
        else:
            print(result_line(result))
        return 0


@dataclass(frozen=True, kw_only=True)
class Predict:
    """What a model sees in images.

    Example: mobileone predict mobileone_s0.apple_in1k photo.jpg
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help."""
    images: Annotated[Positional[tuple[str, ...]], arg(metavar="IMAGE ...")]
    """Image files."""
    topk: int = 5
    """Classes to print for each image."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    json: bool = False
    """Print the result as JSON."""
    png: Path | None = None
    """Also draw the images with their likeliest class into this picture."""

    def run(self) -> int:
        from mobileone.runtime.predictor import Predictor
        from mobileone.train.distributed import pick_device

        if not self.images:
            raise ConfigError("predict needs at least one image file after MODEL")
        predictor = Predictor(load_fused(self.model), device=pick_device(self.device))
        predictions = predictor(self.images, topk=self.topk)
        if self.png is not None:
            from mobileone.runtime.sheet import draw_sheet

            draw_sheet(predictions, self.png)
        if self.json:
            print_json([prediction.to_dict() for prediction in predictions])
            return 0
        for prediction in predictions:
            print(prediction.image)
            for score in prediction.scores:
                known = "" if score.name == score.class_name else f"{score.class_name}  "
                print(f"  {100 * score.probability:6.2f} %  {known}{score.name}")
        return 0
