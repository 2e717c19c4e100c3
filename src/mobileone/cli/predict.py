"""`mobileone predict`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from mobileone.backends.table import Precision
from mobileone.class_list import read_class_list
from mobileone.cli.device_option import device_name
from mobileone.cli.named_images import ListedImage, PackedImage, list_images, opened, still_there
from mobileone.cli.output import print_json
from mobileone.cli.parts_output import is_folder, own_threads, part_bar, tell_failure, tell_report
from mobileone.cli.prediction_file import MAX_DIFFERENCE, DoneImage, PredictionFile
from mobileone.cli.target_file import require_drawing
from mobileone.cli.words import FILE, IMAGES, INPUT_SIZE, MODEL, OUTPUT
from mobileone.decision import Doubt
from mobileone.errors import BadImageError, ConfigError
from mobileone.heap import kept_heap
from mobileone.input_spec import Size
from mobileone.outside_text import printable

if TYPE_CHECKING:
    from mobileone.inference.predictor import Prediction, Predictor

RowFormat = Literal["jsonl", "parquet"]

DOUBTS: dict[Doubt, str] = {
    "unlikely": "its likeliest class is below the threshold",
    "novel": "it looks like nothing that the model was calibrated on",
}
FEW_IMAGES = 32
"""Are done before measuring how to do them would pay."""
BAR_AFTER_S, LOG_AFTER_S = 0.5, 10.0
"""Until then a bar would hardly be seen, on a terminal and in a log file."""


@dataclass(frozen=True, kw_only=True)
class Predict:
    """What a model, or an exported file, sees in images.

    Example: mobileone predict mobileone_s0.apple_in1k photo.jpg
    """

    model: Annotated[str, MODEL]
    """MODEL, see mobileone --help, or an exported file."""
    images: Annotated[tuple[str, ...], IMAGES]
    """Image files, folders of them, lists (.csv, .json or .jsonl with a column image), shards, as in
    DIR/val-{000000..000007}.tar, local or behind URLs, and data sets of the Hugging Face hub, as in
    hf:owner/name:test."""
    topk: int = 5
    """Classes to print for each image."""
    output: Annotated[Path | None, OUTPUT] = None
    """Write the predictions to this .csv (a line a class; texts that begin like a formula get an apostrophe)
    or .jsonl (a line an image, all texts as they are) instead of printing. A folder gets a file a part: a
    shard, or --part-size images; it is gone on with, by any number of processes."""
    force: bool = False
    """Overwrite an existing --output."""
    resume: bool = False
    """Go on with the OUTPUT.partial that an interrupted run has left, with the same images and options. A
    folder is always gone on with."""
    part_size: int = 1000
    """In a folder: images in a part, of those that are in no shard."""
    part_format: RowFormat = "jsonl"
    """In a folder: what the parts are written as."""
    batch_size: int | None = None
    """Images classified at a time. Default: 8 for an exported file, or what it takes, else 32."""
    workers: int | None = None
    """Threads that decode meanwhile. Default: measured on the first photo, and said; 2 for a few photos, and
    for parts."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an image that cannot be decoded, or name it and go on."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels; an exported file has its own.
    Default: the model's."""
    classes: Annotated[Path | None, FILE] = None
    """Names for the model's classes in the order of its outputs, a line each or a JSON list. Default: the
    model's own."""
    threshold: float | None = None
    """Probability from which on a label is one of the image, for a multi-label model. Default: 0.5."""
    scaled_decoding: bool = False
    """Decode JPEGs that are twice as large as needed, or more, at a part of their size: faster, pixels a grey
    level or two off."""
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
    json: bool = False
    """Print the result as JSON."""
    png: Path | None = None
    """Also draw the first 60 images with their likeliest class into this picture."""

    @kept_heap()
    def run(self) -> int:
        from mobileone.inference.sheet import MAX_IMAGES, draw_sheet

        if self.png is not None:
            require_drawing(self.png, ".png")
        if is_folder(self.output):
            return self._run_in_parts()
        output = None if self.output is None else PredictionFile(self.output, self.force, self.resume)
        if output is None and self.resume:
            raise ConfigError("--resume goes on with an --output; give the one of the interrupted run")
        images = list_images(self.images)
        if self.png is not None and any(isinstance(image, PackedImage) for image in images):
            raise ConfigError("--png draws image files, and shards are none; leave it out")
        predictor = self._load()
        done = [] if output is None else output.done()
        if output is not None and done:
            check_resumable(done, output, predictor, images, self.topk)
        predictions = predictor.stream(
            opened(images[len(done) :]),
            topk=self.topk,
            batch_size=self.batch_size,
            workers=decoding_threads(predictor, images) if self.workers is None else self.workers,
            on_bad_image=self.on_bad_image,
        )
        shown: list[Prediction] = []
        target = standard_output(as_json=self.json) if output is None else output.writer(done)
        with target as write:
            for prediction in shown_progress(predictions, number=len(images), done=len(done)):
                write(prediction)
                if prediction.error is not None:
                    print(f"skipped: {printable(prediction.error)}", file=sys.stderr)
                elif len(shown) < MAX_IMAGES:
                    shown.append(prediction)
        if self.output is not None:
            print(f"wrote {self.output}", file=sys.stderr)
        if self.png is not None:
            draw_sheet(shown, self.png)
        return 0

    def _load(self, *, threads: int | None = None) -> Predictor:
        from mobileone.inference.predictor import Predictor

        return Predictor.load(
            self.model,
            device=device_name(self.model, self.device),
            threads=threads if self.threads is None else self.threads,
            precision=self.precision,
            input_size=self.input_size,
            class_names=None if self.classes is None else read_class_list(self.classes),
            weights_key=self.weights_key,
            exif=False if self.no_exif else None,
            scaled_decoding=self.scaled_decoding,
            threshold=self.threshold,
        )

    def _run_in_parts(self) -> int:
        from mobileone.parts.predict_parts import predict_parts

        if self.force or self.png is not None:
            what = "--force" if self.force else "--png"
            raise ConfigError(f"{what} is for a single file; {self.output} is a folder, and is gone on with")
        assert self.output is not None
        predictor = self._load(threads=own_threads(self.model, None))
        with part_bar("predicting") as show:
            report = predict_parts(
                predictor,
                self.images,
                self.output,
                topk=self.topk,
                row_format=self.part_format,
                part_size=self.part_size,
                batch_size=self.batch_size,
                workers=2 if self.workers is None else self.workers,
                on_bad_image=self.on_bad_image,
                on_failure=tell_failure,
                on_progress=show,
                on_note=lambda note: print(note, file=sys.stderr),
            )
        return tell_report(report, as_json=self.json)


def shown_progress(predictions: Iterator[Prediction], *, number: int, done: int = 0) -> Iterator[Prediction]:
    """The predictions, with a bar once it is clear that they take a while; before, none is loaded."""
    begun, patience = time.monotonic(), BAR_AFTER_S if sys.stderr.isatty() else LOG_AFTER_S
    for prediction in predictions:
        yield prediction
        done += 1
        if time.monotonic() - begun > patience:
            break
    else:
        return
    from mobileone.progress_bar import progress_bar

    yield from progress_bar(
        predictions, title="predicting", unit="image", hidden=False, total=number, initial=done
    )


def decoding_threads(predictor: Predictor, images: Sequence[ListedImage]) -> int:
    """As many as suit the first photo, which is said; 2 where measuring would not pay or cannot be done."""
    if len(images) <= FEW_IMAGES:
        return 2
    from mobileone.inference.core_share import measure_core_share

    try:
        share = measure_core_share(predictor, next(opened(images)))
    except BadImageError:  # whether that is an error is for the predictions to say
        return 2
    print(share, file=sys.stderr)
    return share.workers


def check_resumable(
    done: Sequence[DoneImage],
    output: PredictionFile,
    predictor: Predictor,
    images: Sequence[ListedImage],
    topk: int,
) -> None:
    """Refuse to go on with predictions of other images, another model, or other options.

    The last image that is there is done again, and must come out the same.

    Raises:
        ConfigError: if it does not.
    """
    names = [output.written_name(str(image)) for image in images[: len(done)]]
    wrong = next((n for n, one in enumerate(done) if n >= len(names) or one.name != names[n]), None)
    if wrong is not None:
        raise ConfigError(
            f"{output.partial} has {printable(done[wrong].name)} as image {wrong + 1}, these images do not; "
            "give the same ones in the same order, or --force to begin anew"
        )
    for number in reversed(range(len(done))):
        if done[number].scores and (image := images[number]) and still_there(image):
            now = predictor(next(opened([image])), topk=topk)
            break
    else:
        return
    before = done[number].scores
    same = len(now.scores) == len(before) and all(
        abs(one.probability - probability) <= MAX_DIFFERENCE
        for one, (_, probability) in zip(now.scores, before, strict=True)
    )
    if not same or now.scores[0].index not in dict(before):
        raise ConfigError(
            f"{printable(str(image))} comes out otherwise than in {output.partial}: another model, other "
            "options, or another image; give what the run was started with, or --force to begin anew"
        )


@contextmanager
def standard_output(*, as_json: bool) -> Iterator[Callable[[Prediction], None]]:
    """A function that takes prediction after prediction, and prints them, as JSON all at once at the end."""
    collected: list[Prediction] = []
    yield collected.append if as_json else print_prediction
    if as_json:
        print_json([prediction.to_dict() for prediction in collected])


def print_prediction(prediction: Prediction) -> None:
    """The image, then a line a class, for people; with a mark before the labels of a multi-label network."""
    labels = prediction.labels
    if prediction.error is None:
        unsure = f"  unsure: {DOUBTS[prediction.doubt]}" if prediction.doubt else ""
        none = "  no label reaches the threshold" if labels == () else ""
        print(f"{printable(prediction.image)}{unsure}{none}")
    for score in prediction.scores:
        known = "" if score.name == score.class_name else f"{printable(score.class_name)}  "
        mark = "" if labels is None else "* " if score.class_name in labels else "  "
        print(f"  {mark}{100 * score.probability:6.2f} %  {known}{printable(score.name)}")
