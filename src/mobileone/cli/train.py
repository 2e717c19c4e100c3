"""`mobileone train`."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg
from tyro.constructors import PrimitiveConstructorSpec

from mobileone.cli.arguments import NAMES
from mobileone.cli.output import print_json, result_line
from mobileone.cli.words import INPUT_SIZE
from mobileone.errors import ConfigError, MobileOneError
from mobileone.evaluation.metric_names import title_of
from mobileone.input_spec import Size, size_text
from mobileone.report.aligned_table import aligned_table
from mobileone.task import Task
from mobileone.training.config.recipe import RECIPES

if TYPE_CHECKING:
    from mobileone.training.config.train_config import TrainConfig
    from mobileone.training.run.plan import RunPlan
    from mobileone.training.run.run_report import RunReport
    from mobileone.training.watch.callback import Callback

# `--resume` alone is "yes".
RESUME = PrimitiveConstructorSpec(
    nargs=(0, 1),
    metavar="[auto]",
    instance_from_str=lambda words: _resume(words),
    is_instance=lambda value: value in ("no", "yes", "auto"),
    str_from_instance=lambda value: [value],
)

RECIPE_HELP = (
    f"{', '.join([*RECIPES][:-1])} or {[*RECIPES][-1]}. Default: digits; with --resume, the run's own "
    "settings, and a recipe that asks for others is refused."
)

# What the library says of its arguments, and what the flags are called.
FLAGS = {
    "pass split=0.2 or folds, or": "pass --split 0.2 or --folds, or",
    "as val_data": "as --set val_data=…",
    "leave split and folds out": "leave --split and --folds out",
    "task=": "--task ",
    "set folds as well": "give --folds as well",
    "resume=True": "--resume",
    "allow_changed_data=True": "--allow-changed-data",
    "leave resume out": "leave --resume out",
    "choose another run_dir": "choose another --run-dir",
    "so pass data yourself": "so pass --data yourself",
    "so pass val_data yourself": "so pass --set val_data=… yourself",
    "so pass init yourself": "so pass --init yourself",
    "so pass distill.teacher yourself": "so pass --set distill.teacher=… yourself",
    "leave the budget out": "leave --budget out",
    "epochs and budget both say": "epochs and --budget both say",
    "leave files out, or track": "leave --track-files out, or --track",
}


def _resume(words: list[str]) -> str:
    if words and words != ["auto"]:
        raise ValueError(f"--resume takes nothing or auto, got {words[0]}")
    return "auto" if words else "yes"


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network; under torchrun, on several ranks.

    Example: mobileone train --data DIR --recipe paper_s0 --run-dir runs/s0
    """

    data: str | None = None
    """Folder with train/<class>/ and val/<class>/ (or class folders, with --split), a list of images (.csv,
    .json or .jsonl with the columns image and label or labels, perhaps split and group), shards
    ('DIR/train-{000000..000007}.tar', a URL or a pipe), a data set of the Hugging Face hub
    (hf:owner/name), or `digits` (built in). Default: the recipe's."""
    task: Task | None = None
    """singlelabel (one class an image) or multilabel (any number of labels, which --data lists). Default: the
    recipe's, which is singlelabel."""
    split: float | None = None
    """Share of the images to hold out for validation, such as 0.2, of a folder of class folders or a list
    that has no split: stratified, seeded, groups of a column `group` undivided. What was held out is in
    RUN_DIR/split.jsonl."""
    folds: int | None = None
    """Divide them into so many parts instead, and train once for each, into RUN_DIR/fold-1, …;
    RUN_DIR/folds.csv has the figures of all, their mean and deviation."""
    fold: int | None = None
    """Train for one of --folds alone, 1 for the first."""
    split_by: Literal["group", "looks"] | None = None
    """With --split or --folds, keep on one side: the images of a list's group (the default), or besides
    these the pictures of the same photo, which decodes all of them."""
    recipe: Annotated[str | None, arg(help=RECIPE_HELP)] = None
    exclude: Annotated[str | None, arg(metavar="FILE")] = None
    """Leave out the images that this file names: a CSV of `mobileone check-labels`, or a path a line."""
    run_dir: Path | None = None
    """Folder for everything the run writes. Default: runs/RECIPE."""
    init: str | None = None
    """MODEL to start from instead of random weights."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels. Default: the recipe's, which for
    finetune and linear_probe is 224, and less for data of smaller images."""
    weights_key: str | None = None
    """Which weights of --init, where the file has several, by their key. Default: averaged ones before raw
    ones."""
    device: str | None = None
    """auto, cpu, cuda or cuda:N. Default: the recipe's, which is auto."""
    on_bad_image: Literal["error", "skip"] | None = None
    """Stop at an image that cannot be decoded, or name it and go on. Default: the recipe's (error)."""
    budget: str | None = None
    """Wall time that the run may take, such as 90s, 10m or 1.5h: a few steps are timed, then there are as
    many epochs as fit (up to the recipe's), of smaller images where these are few. With --folds it is shared
    out among them."""
    set: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="FIELD=VALUE ...")] = ()
    """Any field of the recipe, such as epochs=10 mix.mixup=0.2; an unknown name prints the nearest."""
    checkpoint_every: str | None = None
    """Between checkpoints within an epoch: 1000s, 500steps or none. Default: the recipe's, which is 1000s."""
    resume: Annotated[Literal["no", "yes", "auto"], RESUME] = "no"
    """Go on with the run in --run-dir from its newest checkpoint, with the configuration it was started with;
    `--resume auto` starts one if there is none."""
    allow_changed_data: bool = False
    """Resume although images were added, removed or renamed since the run began; in the epoch under way some
    may then come twice, or not at all."""
    track: Annotated[tuple[str, ...], NAMES] = ()
    """Also tell a tracker of every epoch: tensorboard (into RUN_DIR/tensorboard), mlflow[:URI] or
    wandb[:PROJECT]; several with commas. One that is down does not stop the run."""
    track_files: bool = False
    """Hand best weights, configuration, metrics and curves over to the tracker at the end."""
    dry_run: bool = False
    """Only say what the run would be: configuration, parameter groups, memory and time from a few real steps,
    and the schedule as RUN_DIR/schedule.png."""
    report: bool = True
    """After the last epoch write report.html and its pictures; --no-report leaves them out."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        with told_by_flags():
            base = self.run_dir or Path("runs") / (self.recipe or "digits")
            if self.folds is None:
                return self._run(base)
            if self.folds < 2:
                raise ConfigError(f"folds must be 2 or more, got {self.folds}")
            return self._run_folds(base, self.folds)

    def _run_folds(self, base: Path, folds: int) -> int:
        from mobileone.training.run.budget import parse_budget
        from mobileone.training.run.fit_folds import fold_dir, summarize_folds

        if self.fold is not None and not 1 <= self.fold <= folds:
            raise ConfigError(f"fold must be in 1..{folds}, got {self.fold}")
        budget = self.budget
        if budget is not None and self.fold is None:
            budget = f"{parse_budget(budget) / folds:f}s"
        for fold in range(1, folds + 1) if self.fold is None else [self.fold]:
            folder = fold_dir(base, fold)
            all_begun = [n for n in range(1, folds + 1) if (fold_dir(base, n) / "config.json").exists()]
            # A fold that was not begun yet is begun, where the others are gone on with.
            resume = (
                "no" if self.resume == "yes" and self.fold is None and fold not in all_begun else self.resume
            )
            like = fold_dir(base, all_begun[0]) if all_begun else None
            code = replace(self, fold=fold, resume=resume, budget=budget)._run(folder, like=like)
            if code or self.dry_run:
                return code
        if int(os.environ.get("RANK", "0")) == 0:
            summary = summarize_folds(base)
            if self.json and self.fold is None:
                print_json(summary.to_dict())
            else:
                print(summary, file=sys.stderr if self.json else sys.stdout)
            print(f"folds: {summary.path}", file=sys.stderr)
        return 0

    def _run(self, run_dir: Path, *, like: Path | None = None) -> int:
        """Train; `like` is a fold that was begun, so that a budget gives all of them the same epochs."""
        from mobileone.training.config.recipe import FOR_YOUR_DATA, recipe
        from mobileone.training.config.short_names import SHORT_NAMES
        from mobileone.training.config.train_config import override
        from mobileone.training.run.adapt import ADAPTED_FIELDS, Adapted, adapt
        from mobileone.training.run.budget import BUDGETED_FIELDS, as_long_as, parse_budget, within_budget
        from mobileone.training.run.fit import fit
        from mobileone.training.run.run_dir import RunDir

        stored = RunDir(run_dir)
        resume = {"no": False, "yes": True, "auto": stored.config.exists()}[self.resume]
        names = (
            *("data", "task", "exclude", "init", "input_size", "device", "on_bad_image", "checkpoint_every"),
            *("split", "folds", "fold", "split_by"),
        )
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.weights_key is not None:
            given["init_weights_key"] = self.weights_key
        settings = [*itertools.chain(*self.set)]

        def told(config: TrainConfig) -> TrainConfig:
            return override(config, settings, beside=given)

        given = {SHORT_NAMES.get(name, name): value for name, value in given.items()}
        named = [setting.partition("=")[0].strip() for setting in settings]
        replaced = {SHORT_NAMES.get(name, name) for name in (*given, *named)}
        notes: tuple[str, ...] = ()
        budget_s = None if self.budget is None else parse_budget(self.budget)
        if budget_s is not None and "epochs" in replaced:
            raise ConfigError("epochs and budget both say how long; leave one out")
        adapts = self.recipe in FOR_YOUR_DATA
        if resume:
            config = told(stored.read_config(given=replaced))
            if self.recipe is not None:
                changes = stored.changes(told(recipe(self.recipe)))
                decided = {*(ADAPTED_FIELDS if adapts else ()), *(BUDGETED_FIELDS if budget_s else ())}
                changes = [change for change in changes if change[0] not in decided - replaced]
                refuse_other_recipe(self.recipe, changes, run_dir)
        else:
            config = told(recipe(self.recipe or "digits"))
            adapted = adapt(config, keep=replaced) if adapts else Adapted(config=config)
            config, notes = adapted.config, adapted.reasons
            if budget_s is not None:
                keep = replaced if adapts else {*replaced, "input_spec.size"}
                adapted = (
                    within_budget(config, budget_s, keep=keep)
                    if like is None
                    else as_long_as(config, RunDir(like).stored_config())
                )
                config, notes = adapted.config, (*notes, *adapted.reasons)
        if self.dry_run:
            return self._plan(config, run_dir / "schedule.png")
        result = fit(
            config,
            run_dir=run_dir,
            resume=resume,
            callbacks=self._callbacks(),
            allow_changed_data=self.allow_changed_data,
            notes=notes,
        )
        if int(os.environ.get("RANK", "0")) > 0:  # the main rank speaks for all
            return 0
        if self.report:
            _report(run_dir, config)
        if self.json and self.folds is None:
            print_json(result.to_dict())
        else:
            print(result_line(result.last), file=sys.stderr if self.json else sys.stdout)
            digits = 4 if result.select == "loss" else 2
            best = f"{title_of(result.select)} {result.best_value:.{digits}f}"
            print(f"best epoch {result.best_epoch}: {best}", file=sys.stderr)
            print(f"everything is in {result.run_dir}", file=sys.stderr)
        return 0

    def _callbacks(self) -> list[Callback]:
        from mobileone.training.watch.open_tracker import open_tracker

        if self.track_files and not self.track:
            raise ConfigError("--track-files hands files over to a tracker; name one with --track")
        if int(os.environ.get("RANK", "0")) > 0:
            return []
        return [open_tracker(address, files=self.track_files) for address in self.track]

    def _plan(self, config: TrainConfig, picture: Path) -> int:
        from mobileone.training.run.plan import plan

        planned = plan(config, picture=picture)
        if int(os.environ.get("RANK", "0")) > 0:
            return 0
        if self.json:
            print_json(planned.to_dict())
        else:
            print(plan_text(planned))
        print(f"schedule: {picture}", file=sys.stderr)
        return 0


def refuse_other_recipe(name: str, changes: Sequence[tuple[str, Any, Any]], run_dir: Path) -> None:
    """A run goes on as it was begun, so a recipe that asks for something else must not pass unheard.

    Args:
        name: of the recipe.
        changes: field, the run's value and the recipe's, wherever they differ.
        run_dir: of the run.

    Raises:
        ConfigError: if there are any.
    """
    if changes:
        field, there, wanted = changes[0]
        raise ConfigError(
            f"--recipe {name} has {field}={wanted!r}, the run in {run_dir} {field}={there!r}"
            + (f" (and {len(changes) - 1} more differ)" if len(changes) > 1 else "")
            + "; leave --recipe out to go on with the run as it is, or choose another --run-dir"
        )


@contextmanager
def told_by_flags() -> Iterator[None]:
    """Errors of a run that speak of arguments, in the words of the command line."""
    try:
        yield
    except MobileOneError as error:
        text = str(error)
        for argument, flag in FLAGS.items():
            text = text.replace(argument, flag)
        raise type(error)(text) from error


def _report(run_dir: Path, config: TrainConfig) -> None:
    """The report of a finished run; pictures that cannot be drawn are no failure of the training."""
    from mobileone.training.run.run_report import write_report

    try:
        print(f"report: {write_report(run_dir, config=config).page}", file=sys.stderr)
    except MobileOneError as error:
        print(f"no report: {' '.join(str(error).split())}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run came to, anew: confusion, worst classes, mistakes, and one page with everything.

    Example: mobileone report runs/mine
    """

    run_dir: Annotated[Positional[Path], arg(metavar="RUN_DIR")]
    """Folder of a run with at least one evaluated epoch."""
    data: str | None = None
    """Folder with val/<class>/, or what a run of --split or --folds was trained on, of which the images are
    taken that it held out. Default: where the run had it."""
    device: str | None = None
    """auto, cpu, cuda or cuda:N. Default: the run's."""

    def run(self) -> int:
        from mobileone.training.run.run_report import write_report

        with told_by_flags():
            result = write_report(self.run_dir, data=self.data, device=self.device)
        print(result_text(result))
        return 0


def result_text(result: RunReport) -> str:
    """Figures of the best weights, then the path of every file that was written."""
    figures = {name: value for name, value in result.answers.figures.items() if "/" not in name}
    shown = [name for name in figures if name in ("acc1", "acc5")] or list(figures)
    words = "  ".join(f"{title_of(name)} {figures[name]:.3f}" for name in shown)
    lines = [f"{words}  n {len(result.answers)}"]
    return "\n".join([*lines, *map(str, (*result.pictures, result.page))])


def plan_text(planned: RunPlan) -> str:
    """What a run would be, as tables: its settings, parameters and phases, then memory and time."""
    from mobileone.training.watch.time_left import duration

    config = planned.config
    settings = [
        [name, value if isinstance(value, str) else json.dumps(value)]
        for name, value in config.settings().items()
    ]
    groups = [
        [group.name, f"{group.num_tensors:,}", f"{group.num_parameters:,}", f"{group.weight_decay:g}"]
        for group in planned.groups
    ]
    phases = [
        [
            str(phase.epochs),
            size_text(phase.size),
            f"{phase.strength:g}",
            f"{phase.step_seconds:.3f}",
            f"{planned.step_images / phase.step_seconds:.0f}",
        ]
        for phase in planned.phases
    ]
    how = f"steps of {planned.timed_batch} images a rank on {planned.device}"
    if not planned.is_measured:
        how = f"scaled from {how}, for the real batch does not fit"
    return "\n".join(
        [
            f"{planned.num_images} training images of {planned.num_classes} classes; {config.epochs} epochs "
            f"of {planned.steps_per_epoch} steps of {planned.step_images} images on {planned.ranks} "
            f"rank{'s' if planned.ranks > 1 else ''}; peak lr {planned.peak_lr:.4g}",
            "",
            aligned_table(["field", "value"], settings),
            "",
            aligned_table(["parameters", "tensors", "numbers", "weight decay"], groups),
            "",
            aligned_table(["epochs", "pixels", "strength", "s a step", "images/s"], phases),
            "",
            f"loading: {planned.data_seconds:.3f} s a step with num_workers={planned.num_workers}",
            f"memory: {planned.memory_bytes / 1e9:.2f} GB a rank",
            f"time: {duration(planned.seconds)} of training, evaluation not counted",
            f"({how})",
        ]
    )
