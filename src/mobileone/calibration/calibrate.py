"""From a network and images that it was not trained on to a decision, with figures that others can check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mobileone.calibration.novelty import NoveltyFigures, limit_for, measure_novelty
from mobileone.calibration.reliability import Reliability, measure_reliability
from mobileone.calibration.scaling import Method, fit_scaling
from mobileone.calibration.thresholds import (
    CoverageCurve,
    Outcomes,
    Target,
    choose_thresholds,
    coverage_curve,
    label_curve,
    label_thresholds,
)
from mobileone.data.fingerprint import Fingerprint
from mobileone.data.folder import image_files
from mobileone.data.loader import OnBadImage
from mobileone.data.open import open_data
from mobileone.data.photos import photo_pixels
from mobileone.data.source import ImageSource, Labels, label_counts
from mobileone.decision import Decision, Floats, NoveltyScore, familiarity
from mobileone.errors import BadImageError, ConfigError, DataError, MobileOneError
from mobileone.evaluation.evaluate import classified
from mobileone.imagenet import resolve_classes
from mobileone.inference.classifier import Classifier, classifying
from mobileone.model.network import MobileOne
from mobileone.model.wrapped import unwrap
from mobileone.progress_bar import progress_bar
from mobileone.task import Task, task_of
from mobileone.training.run.run_dir import RunDir

FEWEST = 50
"""Images; with fewer, nothing that is fitted means anything."""
FEW = 500
"""With fewer, a share of 0.9 is uncertain by more than 0.026 (95 %), which is said."""
FOLDS = 5
OOD_BATCH = 64
KEPT = 0.95
"""Share of the known images that a novelty limit lets pass, unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A decision and what it is worth.

    All figures after calibration are of images that did not take part in fitting: each fifth of them is
    judged by what the other four fifths gave. The decision itself is fitted on all.

    Of a multi-label network an answer is a label that is given, coverage the share of the images' labels that
    is given, and accuracy that of all labels of all images that are told rightly at 0.5.

    Attributes:
        decision: to be kept with the model (`store_decision`, or `model.decision`).
        before: of the plain softmax.
        after: of the calibrated probabilities.
        curve: coverage and accuracy by threshold, of the calibrated probabilities.
        accuracy: top-1 of all images, in [0, 1].
        coverage: share of the images with a sure answer, in [0, 1].
        accepted_accuracy: share of the sure answers that is right; None where there is none.
        novelty: figures of the scores, with images named as novel; else none.
        classes: names.
        notes: what is doubtful about all this, a line each.
        task: of the network.
    """

    decision: Decision
    before: Reliability
    after: Reliability
    curve: CoverageCurve
    accuracy: float
    coverage: float
    accepted_accuracy: float | None
    novelty: tuple[NoveltyFigures, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    task: Task = "singlelabel"

    @property
    def num_images(self) -> int:
        """On which all this was measured."""
        return int(self.decision.evidence["num_images"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; the curve and the diagrams are left out."""
        return {
            "decision": self.decision.to_dict(),
            "num_images": self.num_images,
            **{
                f"{name}_{when}": getattr(figures, name)
                for name in ("ece", "brier", "loss")
                for when, figures in (("before", self.before), ("after", self.after))
            },
            "accuracy": self.accuracy,
            "coverage": self.coverage,
            "accepted_accuracy": self.accepted_accuracy,
            "novelty": {each.score: {"auroc": each.auroc, "fpr95": each.fpr95} for each in self.novelty},
            "notes": list(self.notes),
        }


def calibrate(
    model: MobileOne | Classifier,
    data: str | Path | ImageSource,
    *,
    split: Literal["train", "val"] = "val",
    method: Method = "temperature",
    target: Target | None = None,
    ood: str | Path | None = None,
    novelty: NoveltyScore | None = None,
    keep: float = KEPT,
    run_dir: str | Path | None = None,
    batch_size: int = 64,
    num_workers: int | None = 0,
    on_bad_image: OnBadImage = "error",
    progress: bool = True,
) -> Calibration:
    """Fit probabilities that mean something, and thresholds, on images that the network was not trained on.

    Args:
        model: a network in either form, put into eval mode meanwhile; or any `Classifier`: an `Artifact` is
            calibrated as it computes, so an int8 file gets what suits its integers.
        data: `"digits"`, a data folder, shards, or an `ImageSource` of your own, of the model's classes.
        split: which part of it: `"val"`, or a folder without parts as it is.
        method: `temperature`, one number that changes no answer; or `vector`, a temperature and a bias a
            class.
        target: what thresholds are chosen for; None refuses no answer for its probability.
        ood: photos of things that are none of the classes (any folder), to measure how they are told.
        novelty: the score that refuses novel images; None is `energy` with `ood`, and no such limit without.
        keep: share of the known images that the novelty limit lets pass.
        run_dir: of the run that trained the network: whether these are its training images is looked at.
        batch_size: images at a time; does not change the result beyond rounding.
        num_workers: loader processes; None is one for each core, 8 at most.
        on_bad_image: `"error"`, or `"skip"` to leave unreadable images out.
        progress: whether to show a bar on stderr.

    Raises:
        DataError: if the data's classes are not the model's, there are too few images or all of one class, or
            the target cannot be met, and what can.
        ConfigError: on values out of range.
        BadImageError: on an unreadable image under `"error"`.
        MissingExtraError: without scipy and scikit-learn.
    """
    if not 0 < keep < 1:
        raise ConfigError(f"keep must be between 0 and 1, got {keep:g}")
    if not isinstance(model, Classifier):
        model = unwrap(model)
    task, classes = task_of(model), resolve_classes(model.num_classes, model.class_names)
    source = data
    if isinstance(source, str | Path):
        source = open_data(source, split=split, classes=classes, task=task)
    with classifying(model) as classifier:
        logits, labels = labelled_logits(
            classifier,
            source,
            batch_size=batch_size,
            num_workers=num_workers,
            on_bad_image=on_bad_image,
            progress=progress,
        )
        notes = _doubts(labels, source.classes)
        if split == "train" or (run_dir is not None and were_trained_on(source, run_dir)):
            notes.insert(0, TRAINED_ON)
        strange = None
        if ood is not None:
            strange, unread = _logits_of_folder(classifier, ood, on_bad_image=on_bad_image, progress=progress)
            notes += [f"{unread} of the novel images could not be read"] if unread else []
        fit = _Fit(method, target, novelty or ("energy" if ood is not None else None), keep, source.classes)
        evidence = {
            "data": str(data) if isinstance(data, str | Path) else type(data).__name__,
            "runs": str(classifier),
        }
    return _calibrated(fit, logits, labels, strange, notes, evidence | ({"ood": str(ood)} if ood else {}))


@dataclass(frozen=True, slots=True)
class _Fit:
    """How a decision comes from logits and labels."""

    method: Method
    target: Target | None
    novelty: NoveltyScore | None
    keep: float
    classes: tuple[str, ...]

    def __call__(self, logits: NDArray[np.float32], labels: Labels) -> Decision:
        temperatures, biases = fit_scaling(logits, labels, self.method)
        limit = None if self.novelty is None else limit_for(familiarity(logits, self.novelty), self.keep)
        decision = Decision(
            temperatures=temperatures, biases=biases, novelty=self.novelty, novelty_limit=limit
        )
        if self.target is None:
            # Without a target no answer is refused, and a label is given from one half on.
            return decision if labels.ndim == 1 else replace(decision, thresholds=(0.5,))
        if labels.ndim == 2:
            given = decision.probabilities(logits, task="multilabel")
            return replace(
                decision, thresholds=label_thresholds(given, labels == 1, self.target, self.classes)
            )
        outcomes = Outcomes.of(
            decision.probabilities(logits), labels.astype(np.int64), ~decision.sure(logits)
        )
        return replace(decision, thresholds=choose_thresholds(outcomes, self.target, self.classes))


def _calibrated(
    fit: _Fit,
    logits: NDArray[np.float32],
    labels: Labels,
    strange: NDArray[np.float32] | None,
    notes: list[str],
    evidence: Mapping[str, str],
) -> Calibration:
    decision = fit(logits, labels)  # first: it may refuse
    probabilities, sure, unchecked = _out_of_fold(fit, decision, logits, labels)
    if unchecked:
        notes.append(
            "too few images to choose thresholds on a part and check them on the rest: coverage and accuracy "
            "of the sure answers are of the images that chose them, and flatter"
        )
    task: Task = "multilabel" if labels.ndim == 2 else "singlelabel"
    before = measure_reliability(Decision().probabilities(logits, task=task), labels)
    after = measure_reliability(probabilities, labels)
    if labels.ndim == 2:
        right = labels == 1
        accuracy, coverage = float(((probabilities >= 0.5) == right).mean()), float(sure[right].mean())
        curve = label_curve(probabilities, right)
    else:
        outcomes = Outcomes.of(probabilities, labels.astype(np.int64))
        right, curve = outcomes.right, coverage_curve(outcomes)
        accuracy, coverage = float(right.mean()), float(sure.mean())
    accepted = float(right[sure].mean()) if sure.any() else None
    target = fit.target
    if target is not None and target.aim == "precision" and accepted is not None and accepted < target.value:
        notes.append(
            f"of images that did not choose the thresholds {accepted:.3f} of the sure answers are right, "
            f"where {target.value:g} was asked for: ask for more than you need, or calibrate on more images"
        )
    figures = () if strange is None else measure_novelty(logits, strange)
    told: dict[str, str | int | float] = {
        **evidence,
        "num_images": len(labels),
        "method": fit.method,
        "target": str(fit.target or "none"),
        "accuracy": accuracy,
        "coverage": coverage,
        "ece_before": before.ece,
        "ece_after": after.ece,
        "brier_before": before.brier,
        "brier_after": after.brier,
    }
    told |= {} if accepted is None else {"accepted_accuracy": accepted}
    for each in figures:
        if each.score == fit.novelty:
            told |= {"ood_images": len(each.novel), "auroc": each.auroc, "fpr95": each.fpr95}
    return Calibration(
        decision=replace(decision, evidence=told),
        before=before,
        after=after,
        curve=curve,
        accuracy=accuracy,
        coverage=coverage,
        accepted_accuracy=accepted,
        novelty=figures,
        classes=fit.classes,
        notes=tuple(notes),
        task=task,
    )


def _out_of_fold(
    fit: _Fit, decision: Decision, logits: NDArray[np.float32], labels: Labels
) -> tuple[Floats, NDArray[np.bool_], bool]:
    """Probabilities (N, K), whether sure, and whether that failed; each image is judged without it.

    Sure are answers, bool (N,), or labels given, bool (N, K).
    """
    probabilities, sure = np.empty(logits.shape), np.empty(labels.shape, bool)
    order = np.random.default_rng(0).permutation(len(labels))
    scaling_alone = _Fit(fit.method, None, fit.novelty, fit.keep, fit.classes)
    unchecked = False
    for held in np.array_split(order, FOLDS):
        others = np.setdiff1d(order, held)
        try:
            judge = fit(logits[others], labels[others])
        except DataError:  # fewer images may not meet a target that all meet
            unchecked = True
            judge = scaling_alone(logits[others], labels[others])
        probabilities[held], sure[held] = _answers(judge, logits[held], labels)
    return probabilities, _answers(decision, logits, labels)[1] if unchecked else sure, unchecked


def _answers(
    decision: Decision, logits: NDArray[np.float32], labels: Labels
) -> tuple[Floats, NDArray[np.bool_]]:
    """Probabilities (N, K), and which answers are sure (N,), or with several labels an image given (N, K)."""
    if labels.ndim == 1:
        return decision.probabilities(logits), decision.sure(logits)
    probabilities = decision.probabilities(logits, task="multilabel")
    known = decision.sure(logits, task="multilabel")[:, None]
    return probabilities, (probabilities >= np.array(decision.thresholds)) & known


def labelled_logits(
    model: MobileOne | Classifier,
    source: ImageSource,
    *,
    batch_size: int = 64,
    num_workers: int | None = 0,
    on_bad_image: OnBadImage = "error",
    progress: bool = True,
) -> tuple[NDArray[np.float32], Labels]:
    """Logits, float32 (N, K), and labels, as the set has them, of all images that can be read, in order."""
    parts = [
        (logits.float().cpu(), batch.labels)
        for batch, logits in classified(
            model,
            source,
            batch_size=batch_size,
            num_workers=num_workers,
            on_bad_image=on_bad_image,
            hidden=not progress,
        )
        if len(batch)
    ]
    if not parts:
        raise DataError("no image could be read, so there is nothing to calibrate on")
    rows, labels = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
    if not np.isfinite(rows).all():
        raise DataError("the network gives NaN or infinite logits; its weights or its precision are no use")
    return rows, labels == 1 if labels.ndim == 2 else labels


def _logits_of_folder(
    classifier: Classifier, folder: str | Path, *, on_bad_image: OnBadImage, progress: bool
) -> tuple[NDArray[np.float32], int]:
    """Logits, float32 (N, K), of the photos in a folder, and how many could not be read."""
    files, rows = image_files(folder), []
    starts = range(0, len(files), OOD_BATCH)
    for at in progress_bar(starts, title="novel images", unit="batch", hidden=not progress):
        pixels = []
        for file in files[at : at + OOD_BATCH]:
            try:
                pixels.append(photo_pixels([file], classifier.input_spec))
            except BadImageError:
                if on_bad_image == "error":
                    raise
        if pixels:
            rows.append(classifier.logits(torch.cat(pixels)).float().cpu())
    if not rows:
        raise DataError(f"no image in {folder} could be read, so there is nothing novel to measure")
    logits = torch.cat(rows).numpy()
    return logits, len(files) - len(logits)


def were_trained_on(source: ImageSource, run_dir: str | Path) -> bool:
    """Whether a set has the names, class by class, that a run noted of its training images."""
    try:
        return RunDir(Path(run_dir)).changed_images({"training": Fingerprint.of(source)}) is None
    except (FileNotFoundError, MobileOneError):  # no run, an old one, or a damaged note: nothing is known
        return False


def _doubts(labels: Labels, classes: tuple[str, ...]) -> list[str]:
    """What is to be said about the images; refused where they are too few.

    Raises:
        DataError: then.
    """
    number, there = len(labels), np.flatnonzero(label_counts(labels, len(classes)))
    if number < FEWEST:
        raise DataError(
            f"calibrating needs at least {FEWEST} images that the network was not trained on, got {number}"
        )
    if labels.ndim == 1 and len(there) < 2:
        raise DataError(f"all {number} images are of class {classes[there[0]]}; calibrating needs others too")
    notes = []
    if number < FEW:
        error = 1.96 * float(np.sqrt(0.09 / number))
        notes.append(f"{number} images: a share of 0.9 is uncertain by {error:.3f} (95 %); more tell more")
    missing = [name for index, name in enumerate(classes) if index not in set(there.tolist())]
    if missing:
        notes.append(f"no image of {len(missing)} of {len(classes)} classes, the first is {missing[0]}")
    return notes


TRAINED_ON = (
    "these are images that the network was trained on: it is surer and righter there than anywhere else, so "
    "probabilities and thresholds will be too bold; calibrate on others"
)
