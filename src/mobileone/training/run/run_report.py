"""What a finished run came to: pictures, and one self-contained page."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from mobileone.atomic import atomic_path
from mobileone.checkpoint.load import load_model
from mobileone.data.open import open_data, open_validation, splits_of
from mobileone.data.source import ImageSource
from mobileone.data.subset import leave_out
from mobileone.errors import MobileOneWarning, TrainingError
from mobileone.evaluation.answers import Answers, answer
from mobileone.evaluation.label_answers import LabelAnswers, answer_labels
from mobileone.evaluation.label_pictures import draw_label_mistakes, draw_worst_labels
from mobileone.evaluation.metric_names import METRICS, title_of
from mobileone.evaluation.pictures import draw_confusion, draw_mistakes, draw_worst_classes
from mobileone.input_spec import size_text
from mobileone.limits import IMAGE_BYTES, JSON_BYTES
from mobileone.model.network import MobileOne
from mobileone.processor import num_cores
from mobileone.ranks.device import pick_device
from mobileone.regular_file import read_regular
from mobileone.report.figure import try_to_draw
from mobileone.report.page import document, picture, tiles
from mobileone.task import Task
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.report_tables import (
    classes_table,
    epochs_table,
    labels_table,
    pairs_table,
    settings_table,
)
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.run_sets import open_sets
from mobileone.training.watch.records import column_of
from mobileone.training.watch.time_left import duration

# Title, file and note of the pictures.
CURVES = ("Curves", "curves.png", "Validation is that of the averaged weights.")
PICTURES: Mapping[Task, tuple[tuple[str, str, str], ...]] = {
    "singlelabel": (
        CURVES,
        ("Confusion", "confusion.png", "Images of a class (row) that were seen as another (column)."),
        ("Worst classes", "worst_classes.png", ""),
        ("Mistakes", "mistakes.png", "The wrong images it was surest of: class, then prediction."),
    ),
    "multilabel": (
        CURVES,
        ("Worst labels", "worst_classes.png", ""),
        (
            "Mistakes",
            "mistakes.png",
            "What it was surest of and wrong about: a label given wrongly, or missed.",
        ),
    ),
}
UNUSED = ("init", "distill.teacher")  # fields of a run's configuration that a report does not look at
MAX_BATCH = 256  # the result is the same for any; the file is not to decide how much memory is used


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Files of a run's report.

    Attributes:
        page: report.html, with the pictures inside.
        pictures: confusion.png (with one class an image), worst_classes.png and mistakes.png (where there are
            mistakes); one that could not be drawn is left out, and a `MobileOneWarning` says why.
        answers: of the best weights.
    """

    page: Path
    pictures: tuple[Path, ...]
    answers: Answers | LabelAnswers


def write_report(
    run_dir: str | Path,
    *,
    data: str | None = None,
    device: str | None = None,
    progress: bool = True,
    config: TrainConfig | None = None,
) -> RunReport:
    """Evaluate the best weights of a run once more, image by image, and write what they get wrong.

    Into the run's folder: confusion.png, worst_classes.png, mistakes.png and report.html, which holds these,
    curves.png, a table of all classes, the commonest mistakes, and the configuration.

    Args:
        run_dir: of a run with at least one evaluated epoch.
        data: the validation images, or the set that the run divided, which is divided again as it was; None
            is where the run had them.
        device: where to compute; None is the run's.
        progress: whether to show a bar on stderr.
        config: of the run, where the caller has it; None reads what lies in the folder, and takes no data
            from other machines by its word.

    Raises:
        TrainingError: if there is no such run, its files are not what a run writes, or it names data that is
            not on this machine.
        DataError: if the data cannot be used.
        MissingExtraError: without matplotlib.
    """
    files = RunDir(Path(run_dir))
    config = config or files.read_config(given=UNUSED if data is None else (*UNUSED, "data", "val_data"))
    files = RunDir(Path(run_dir), config.saving.weights_suffix)
    best = files.weights("best")
    if not best.exists():
        raise TrainingError(f"{run_dir} has no {best.name} yet; a report needs an evaluated epoch")
    model = load_model(best, form="inference", device=pick_device(device or config.compute.device))
    if config.hold_out.is_on and (data is None or not splits_of(data)):
        source = open_sets(replace(config, data=data or config.data), record=files.split).val
    elif data is not None:
        source = open_data(data, split="val", classes=model.class_names, task=model.task)
    else:
        source = open_validation(config.data, config.val_data, classes=model.class_names, task=model.task)
    if config.exclude is not None:
        (source,) = leave_out(config.exclude, source, must_find=False)
    asked = config.loading.num_workers
    asks = answer if model.task == "singlelabel" else answer_labels
    answers: Answers | LabelAnswers = asks(
        model,
        source,
        batch_size=min(config.batch_size, MAX_BATCH),
        num_workers=None if asked is None else min(asked, num_cores()),
        on_bad_image=config.loading.on_bad_image,
        progress=progress,
    )
    pictures = _draw(files, answers, source)
    page = files.path / "report.html"
    with atomic_path(page) as temporary:
        temporary.write_text(_page(files, config, model, answers), encoding="utf-8")
    return RunReport(page=page, pictures=pictures, answers=answers)


def _draw(files: RunDir, answers: Answers | LabelAnswers, source: ImageSource) -> tuple[Path, ...]:
    confusion, worst, mistakes = (
        files.path / name for name in ("confusion.png", "worst_classes.png", "mistakes.png")
    )
    drawn: dict[Path, Callable[[], object]]
    if isinstance(answers, Answers):
        matrix, classes = answers.confusion(), answers.classes
        drawn = {
            confusion: lambda: draw_confusion(matrix, classes, confusion),
            worst: lambda: draw_worst_classes(matrix, classes, worst),
            mistakes: lambda: draw_mistakes(answers, source, mistakes),
        }
    else:
        drawn = {
            worst: lambda: draw_worst_labels(answers, worst),
            mistakes: lambda: draw_label_mistakes(answers, source, mistakes),
        }
    for path, draw in drawn.items():
        path.unlink(missing_ok=True)  # an earlier report's
        line = try_to_draw(draw, path.name)
        if line is not None:
            warnings.warn(line, MobileOneWarning, stacklevel=3)
    return tuple(path for path in drawn if path.exists())


def _page(files: RunDir, config: TrainConfig, model: MobileOne, answers: Answers | LabelAnswers) -> str:
    environment = files.read_environment()
    rows = epoch_rows(files)
    name = f"{model.variant.name} on {config.data}"
    parts = [_summary(rows, config, model, answers)]
    for title, key, note in PICTURES[model.task]:
        path = files.path / key
        if path.is_file() and path.stat().st_size <= IMAGE_BYTES.value:
            parts.append(
                f"<section><h2>{title}</h2>{picture(path.read_bytes(), alt=title)}"
                f'<p class="soft">{escape(note)}</p></section>'
            )
    if isinstance(answers, Answers):
        parts.append(f"<section><h2>Commonest mistakes</h2>{pairs_table(answers)}</section>")
        parts.append(f"<section><h2>Every class</h2>{classes_table(answers)}</section>")
    else:
        parts.append(f"<section><h2>Every label</h2>{labels_table(answers)}</section>")
    parts.append(f"<section><h2>Epochs</h2>{epochs_table(rows)}</section>")
    settings = config.settings() | {f"({name})": value for name, value in environment.items()}
    parts.append(f"<section><h2>Configuration</h2>{settings_table(settings)}</section>")
    return document(f"Training of {name}", [f"<h1>{escape(name)}</h1>", *parts])


def epoch_rows(files: RunDir, *, needs_test: bool = True) -> list[dict[str, str]]:
    """The lines of metrics.csv, one an epoch, whose numbers are numbers.

    Args:
        files: of the run.
        needs_test: whether one of them must have been evaluated.

    Raises:
        TrainingError: if it is anything else.
    """
    try:
        text = read_regular(files.metrics, JSON_BYTES).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        numbers = [float(value) for row in rows for value in row.values() if value]
        if not rows or not {"epoch", "val_loss", "seconds", "images/s", "data_wait"} <= set(rows[0]):
            raise ValueError("it lacks columns, or lines")
        if needs_test and not any(row["val_loss"] for row in rows):
            raise ValueError("no epoch was evaluated")
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("a number is not finite")
        if not all(row[name] for row in rows for name in ("epoch", "seconds", "images/s", "data_wait")):
            raise ValueError("a number is missing")
    except (OSError, ValueError, TypeError, csv.Error) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"{files.metrics} is not the metrics of a run: {reason}") from error
    return rows


def _summary(
    rows: Sequence[dict[str, str]], config: TrainConfig, model: MobileOne, answers: Answers | LabelAnswers
) -> str:
    seconds = sum(float(row["seconds"]) for row in rows)
    figures, best = answers.figures, best_row(rows, config.select)
    first, *others = METRICS[model.task]
    spec = model.input_spec
    values = [
        (
            f"{figures[first]:.2f} %",
            f"{title_of(first)} of the best weights, {len(answers):,} images",
        ),
        *((f"{figures[name]:.2f} %", title_of(name)) for name in others),
        (
            f"{'–' if best is None else best['epoch']} of {rows[-1]['epoch']}",
            f"best epoch, by {title_of(config.select)}",
        ),
        (duration(seconds), "training, without evaluation"),
        (f"{float(rows[-1]['images/s']):,.0f}", "images/s in the last epoch"),
        (f"{float(rows[-1]['data_wait']):.0%}", "of it waiting for images"),
        (f"{sum(p.numel() for p in model.parameters()):,}", "parameters, fused"),
        (f"{size_text(spec.size)} px", spec.view),
    ]
    return tiles(values)


def best_row(rows: Sequence[dict[str, str]], select: str) -> dict[str, str] | None:
    """The epoch that the best weights are of; None where metrics.csv lacks what they are chosen by."""
    column = "val_loss" if select == "loss" else column_of(select)
    tested = [row for row in rows if row.get(column)]
    sign = -1.0 if select == "loss" else 1.0
    return max(tested, key=lambda row: sign * float(row[column]), default=None)
