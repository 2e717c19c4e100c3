"""Which labels of a set are probably wrong, which images are there twice, which are like no other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobileone.curation.embed import embed
from mobileone.curation.neighbours import groups_of, near_duplicates, nearest, unit
from mobileone.data.open import open_data, require_task
from mobileone.data.source import ImageSource
from mobileone.data.subset import Subset, image_name
from mobileone.errors import ConfigError, DataError, MissingExtraError
from mobileone.evaluation.evaluate import check_classes
from mobileone.inference.predictor import Predictor
from mobileone.task import task_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobileone.data.loader import OnBadImage
    from mobileone.inference.classifier import Classifier
    from mobileone.model.network import MobileOne

Floats = NDArray[np.float64]
Reason = Literal["label", "contradiction", "duplicate"]
Probabilities = Literal["cross-validated", "model"]

ALIKE = 0.97
"""Cosine of near-duplicates, unless told otherwise."""
NEIGHBOURS = 10  # whose mean distance makes an image odd
NUM_ODD = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One image to look at.

    Attributes:
        index: of the image in the set.
        image: its name, as `--exclude` reads it.
        label: the class that it is given as.
        suggested: the class that it looks like.
        quality: probability of its own label, in [0, 1]; little is suspicious.
        reason: `label`, it is probably of the other class; `contradiction`, nearly the same image is there as
            another class; `duplicate`, it is nearly the same as one that comes earlier.
        other: that other image's name.
    """

    index: int
    image: str
    label: str
    suggested: str
    quality: float
    reason: Reason
    other: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelReport:
    """What was found.

    Attributes:
        source: the images that were read.
        suspects: the most suspicious first.
        odd: numbers and distances of the images that are least like any other, the oddest first.
        accuracy: how often the probabilities' likeliest class is the label, in [0, 1]: where that is little,
            suspicions are worth little too.
        probabilities: where they are from, in words.
        notes: what is doubtful, a line each.
    """

    source: ImageSource
    suspects: tuple[Suspect, ...]
    odd: tuple[tuple[int, float], ...]
    accuracy: float
    probabilities: str
    notes: tuple[str, ...]

    def count(self, reason: Reason) -> int:
        """How many suspects there are of a kind."""
        return sum(each.reason == reason for each in self.suspects)


def check_labels(
    model: MobileOne | Classifier | Predictor,
    data: str | Path | ImageSource,
    *,
    split: Literal["train", "val"] = "train",
    probabilities: Probabilities = "cross-validated",
    folds: int = 5,
    alike: float = ALIKE,
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 2,
    on_bad_image: OnBadImage = "error",
    on_skipped: Callable[[str], None] = lambda reason: None,
    progress: bool = True,
) -> LabelReport:
    """Find labels that are probably wrong (cleanlab, arXiv 1911.00068), near-duplicates and odd images.

    Args:
        model: a network of ours, in eval mode; one that was trained on these very images has seen the wrong
            labels too, and still helps, as only its features are used.
        data: `"digits"`, a data folder, a list, or an `ImageSource`.
        split: which part of it.
        probabilities: `cross-validated`, of a logistic regression on the features, each image judged by one
            that was fitted without it and its near-duplicates; or `model`, the network's own, for images that
            it was not trained on.
        folds: of the cross-validation; fewer where a class has fewer images that are no near-duplicates.
        alike: cosine, of features less their mean, from which on two images are near-duplicates.
        seed: of the folds.
        batch_size: images at a time.
        workers: threads that decode.
        on_bad_image: `"error"`, or `"skip"` to leave unreadable images out.
        on_skipped: told why, for each.
        progress: whether to show a bar on stderr.

    Raises:
        DataError: if a class has a single image, or near-duplicates of one alone, or the classes are not the
            model's where its own probabilities are wanted.
        ConfigError: on values out of range, or a model that gives no features.
        MissingExtraError: without cleanlab, scikit-learn or faiss.
    """
    if folds < 2 or not 0 < alike <= 1:
        raise ConfigError(f"folds must be at least 2 and alike in (0, 1], got {folds} and {alike:g}")
    cleanlab_filter, cleanlab_rank = _need("cleanlab.filter"), _need("cleanlab.rank")
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    if task_of(predictor.classifier) != "singlelabel":
        raise ConfigError("checking labels is for sets of one class an image; this model has several labels")
    source = open_data(data, split=split) if isinstance(data, str | Path) else data
    require_task(source, "singlelabel", name="the data")
    whole = source
    if probabilities == "model":
        check_classes(predictor.classifier, source)
    bad: list[str] = []

    def skipped(reason: str) -> None:
        bad.append(reason)
        on_skipped(reason)

    found = embed(
        predictor,
        source,
        batch_size=batch_size,
        workers=workers,
        on_bad_image=on_bad_image,
        on_skipped=skipped,
        progress=progress,
    )
    if bad:
        there = set(found.names)
        kept = [index for index in range(len(whole)) if image_name(whole, index) in there]
        source = Subset(whole, np.array(kept, np.int64))
    labels = np.asarray(source.labels, np.int64)
    pairs = near_duplicates(found.vectors, alike)
    notes: list[str] = []
    if probabilities == "model":
        rows = _own_probabilities(predictor, source, batch_size)
        words = "the network's own"
    else:
        rows, folds = _cross_validated(found.vectors, labels, source.classes, pairs, folds, seed, notes)
        words = f"a logistic regression on the features, {folds} folds"
    wrong = cleanlab_filter.find_label_issues(
        labels, rows, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    quality = cleanlab_rank.get_label_quality_scores(labels, rows, method="self_confidence")
    suspects = _suspects(found.names, labels, rows, quality, wrong, pairs, source.classes)
    return LabelReport(
        source=source,
        suspects=suspects,
        odd=_odd(found.vectors),
        accuracy=float((rows.argmax(1) == labels).mean()),
        probabilities=words,
        notes=tuple(notes),
    )


def _own_probabilities(predictor: Predictor, source: ImageSource, batch_size: int) -> Floats:
    parts = [
        predictor.probabilities(
            [source.read(index) for index in range(start, min(start + batch_size, len(source)))]
        )
        for start in range(0, len(source), batch_size)
    ]
    rows = np.concatenate(parts).astype(np.float64)
    result: Floats = rows / rows.sum(1, keepdims=True)
    return result


def _cross_validated(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    pairs: list[tuple[int, int, float]],
    folds: int,
    seed: int,
    notes: list[str],
) -> tuple[Floats, int]:
    """Probabilities (N, K) of each image by a fit without it and its near-duplicates; and how many folds."""
    linear, selection = _need("sklearn.linear_model"), _need("sklearn.model_selection")
    pipeline, scaling = _need("sklearn.pipeline"), _need("sklearn.preprocessing")
    groups = groups_of(pairs, len(labels))
    # Images that are judged together count once: no more folds than these can be parted into.
    counts = Counter(label for label, _ in sorted(set(zip(labels.tolist(), groups.tolist(), strict=True))))
    alone = [classes[label] for label, number in counts.items() if number < 2]
    if len(counts) < 2:
        raise DataError("all images are of one class, so no label can be wrong")
    if alone:
        raise DataError(
            f"{len(alone)} classes have a single image, or near-duplicates of one, the first is {alone[0]}; "
            "it cannot be judged: give more images, or leave the class out"
        )
    if min(counts.values()) < folds:
        folds = min(counts.values())
        rarest = classes[min(counts, key=counts.__getitem__)]
        notes.append(f"{folds} folds, as {rarest} has only {folds} images that are no near-duplicates")
    regression = linear.LogisticRegression(C=0.01, max_iter=500)
    fitted = pipeline.make_pipeline(scaling.StandardScaler(), regression)
    splitter = selection.StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    rows = np.zeros((len(labels), len(classes)))
    for train, held in splitter.split(vectors, labels, groups):
        if len(np.unique(labels[train])) < 2:
            raise DataError(
                "without the images that one fold judges together with their near-duplicates a single class "
                "is left to learn from; give more images, or a larger alike"
            )
        fitted.fit(vectors[train], labels[train])
        rows[np.ix_(held, fitted.classes_)] = fitted.predict_proba(vectors[held])
    rows = np.maximum(rows, 1e-12)  # of a class that groups left out of a fit
    return rows / rows.sum(1, keepdims=True), folds


def _suspects(
    names: tuple[str, ...],
    labels: NDArray[np.int64],
    rows: Floats,
    quality: Floats,
    wrong: NDArray[np.int64],
    pairs: list[tuple[int, int, float]],
    classes: tuple[str, ...],
) -> tuple[Suspect, ...]:
    """One entry an image: contradictions before labels before duplicates, then the least quality first."""
    likeliest = rows.argmax(1)
    reasons: dict[int, tuple[Reason, str]] = {}
    for a, b, _ in pairs:
        if labels[a] == labels[b]:
            reasons.setdefault(b, ("duplicate", names[a]))
    reasons |= {int(index): ("label", "") for index in wrong}
    for a, b, _ in pairs:
        if labels[a] != labels[b]:
            reasons |= {a: ("contradiction", names[b]), b: ("contradiction", names[a])}
    order: dict[Reason, int] = {"contradiction": 0, "label": 1, "duplicate": 2}
    ranked = sorted(reasons, key=lambda index: (order[reasons[index][0]], quality[index], index))
    return tuple(
        Suspect(
            index=index,
            image=names[index],
            label=classes[labels[index]],
            suggested=classes[likeliest[index]],
            quality=float(quality[index]),
            reason=reasons[index][0],
            other=reasons[index][1],
        )
        for index in ranked
    )


def _odd(vectors: NDArray[np.float32]) -> tuple[tuple[int, float], ...]:
    """The images farthest from their nearest ten others, by cosine, and how far."""
    points = unit(vectors, center=vectors.mean(0))
    _, cosines = nearest(points, points, NEIGHBOURS + 1)
    distances = 1 - cosines[:, 1:].mean(1) if cosines.shape[1] > 1 else np.zeros(len(points))
    farthest = np.argsort(-distances, kind="stable")[:NUM_ODD]
    return tuple((int(index), float(distances[index])) for index in farthest)


def _need(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"checking labels needs {module.partition('.')[0]}, which is not installed; pip install "
            "'mobileone[labels]'"
        ) from error
