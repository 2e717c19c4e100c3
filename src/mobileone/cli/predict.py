"""`mobileone predict`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.backends.table import Precision
from mobileone.cli.arguments import INPUT_SIZE
from mobileone.cli.device_option import device_name
from mobileone.cli.output import print_json
from mobileone.errors import ConfigError
from mobileone.input_spec import Size

if TYPE_CHECKING:
    from mobileone.inference.predictor import Prediction

COLUMNS = ("image", "rank", "index", "class_name", "name", "probability", "error")


@dataclass(frozen=True, kw_only=True)
class Predict:
    """What a model, or an exported file, sees in images.

    Example: mobileone predict mobileone_s0.apple_in1k photo.jpg
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help, or an exported file."""
    images: Annotated[Positional[tuple[str, ...]], arg(metavar="IMAGE ...")]
    """Image files, and folders of them."""
    topk: int = 5
    """Classes to print for each image."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Write the predictions to this .csv (a line a class) or .jsonl (a line an image) instead of printing."""
    force: bool = False
    """Overwrite an existing --output."""
    batch_size: int = 32
    """Images classified at a time."""
    workers: int = 2
    """Threads that decode meanwhile."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an image that cannot be decoded, or name it and go on."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels; an exported file has its own.
    Default: the model's."""
    no_exif: bool = False
    """Look at photos as they are stored, not turned as their EXIF orientation says."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; exported files run on the CPU."""
    threads: int | None = None
    """Threads of an exported file's runtime. Default: all cores that may be used."""
    precision: Precision | None = None
    """Arithmetic of an exported file's runtime. Default: the file's."""
    json: bool = False
    """Print the result as JSON."""
    png: Path | None = None
    """Also draw the first 60 images with their likeliest class into this picture."""

    def run(self) -> int:
        from mobileone.inference.predictor import Predictor
        from mobileone.inference.sheet import MAX_IMAGES, draw_sheet
        from mobileone.progress_bar import progress_bar
        from mobileone.report.figure import require_png

        if self.png is not None:
            require_png(self.png)
        paths = expand_folders(self.images)
        predictor = Predictor.load(
            self.model,
            device=device_name(self.model, self.device),
            threads=self.threads,
            precision=self.precision,
            input_size=self.input_size,
            exif=False if self.no_exif else None,
        )
        predictions = predictor.stream(
            paths,
            topk=self.topk,
            batch_size=self.batch_size,
            workers=self.workers,
            on_bad_image=self.on_bad_image,
        )
        hidden = len(paths) <= self.batch_size
        shown: list[Prediction] = []
        with prediction_writer(self.output, as_json=self.json, force=self.force) as write:
            for prediction in progress_bar(
                predictions, title="predicting", unit="image", hidden=hidden, total=len(paths)
            ):
                write(prediction)
                if prediction.error is not None:
                    print(f"skipped: {prediction.error}", file=sys.stderr)
                elif len(shown) < MAX_IMAGES:
                    shown.append(prediction)
        if self.output is not None:
            print(f"wrote {self.output}", file=sys.stderr)
        if self.png is not None:
            draw_sheet(shown, self.png)
        return 0


def expand_folders(given: Iterable[str]) -> list[str]:
    """Image files, and every image below the folders among them.

    Raises:
        ConfigError: if nothing was given.
        DataError: if a folder has no images.
    """
    from mobileone.data.folder import image_files

    paths = [
        path for each in given for path in (map(str, image_files(each)) if Path(each).is_dir() else [each])
    ]
    if not paths:
        raise ConfigError("predict needs at least one image file or folder after MODEL")
    return paths


@contextmanager
def prediction_writer(
    output: Path | None, *, as_json: bool, force: bool
) -> Iterator[Callable[[Prediction], None]]:
    """A function that takes prediction after prediction to where the user wants them.

    Raises:
        ConfigError: if the file's suffix is unknown, or it exists without `force`.
    """
    from mobileone.atomic import atomic_path
    from mobileone.cli.arguments import refuse_existing

    if output is None:
        collected: list[Prediction] = []
        yield collected.append if as_json else print_prediction
        if as_json:
            print_json([prediction.to_dict() for prediction in collected])
        return
    if output.suffix.lower() not in (".csv", ".jsonl"):
        raise ConfigError(f"--output ends in .csv or .jsonl, got {output}")
    refuse_existing(output, force=force)
    with ExitStack() as stack:
        path = stack.enter_context(atomic_path(output))
        file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        if output.suffix.lower() == ".jsonl":
            yield lambda one: print(json.dumps(one.to_dict(), ensure_ascii=False), file=file)
        else:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            yield lambda one: table.writerows(csv_rows(one))


def csv_rows(prediction: Prediction) -> Iterator[tuple[str | int | float, ...]]:
    """A row a class under `COLUMNS`, one with the error for a skipped image."""
    if prediction.error is not None:
        yield prediction.image, "", "", "", "", "", prediction.error
    for rank, score in enumerate(prediction.scores, start=1):
        yield prediction.image, rank, score.index, score.class_name, score.name, score.probability, ""


def print_prediction(prediction: Prediction) -> None:
    """The image, then a line a class, for people."""
    if prediction.error is None:
        print(prediction.image)
    for score in prediction.scores:
        known = "" if score.name == score.class_name else f"{score.class_name}  "
        print(f"  {100 * score.probability:6.2f} %  {known}{score.name}")
