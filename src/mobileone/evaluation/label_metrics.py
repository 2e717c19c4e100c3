"""Figures of networks of several labels an image, by scikit-learn. Imports no torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobileone.decision import Decision
from mobileone.distribution import pip_install
from mobileone.errors import MissingExtraError
from mobileone.evaluation.metric_names import class_metric


def require_scikit_learn() -> None:
    """Refuse to begin what scikit-learn will be needed for.

    Raises:
        MissingExtraError: without it.
    """
    try:
        import sklearn.metrics  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "figures of several labels an image are computed by scikit-learn, which is not installed; "
            + pip_install("train")
        ) from None


def metrics_of_labels(
    labels: NDArray[np.bool_],
    logits: NDArray[np.float32],
    classes: Sequence[str],
    *,
    decision: Decision | None = None,
) -> dict[str, float]:
    """mAP, macro and micro F1, subset accuracy, and average precision and F1 of every label, percent.

    A label counts as given from a probability of 0.5 on, or from where the decision says. Labels without
    images have no figures, and are in no mean but micro F1. Subset accuracy is the share of images whose
    labels are all right.

    Args:
        labels: which each image has, (N, K).
        logits: (N, K).
        classes: K names.
        decision: of a calibrated network.

    Raises:
        MissingExtraError: without scikit-learn.

    >>> labels = np.array([[True, False], [False, True], [True, True]])
    >>> figures = metrics_of_labels(labels, np.array([[2, -1], [1, 3], [-1, 2]], np.float32), ["a", "b"])
    >>> {name: round(value, 1) for name, value in figures.items() if "/" not in name}
    {'map': 91.7, 'macro_f1': 75.0, 'micro_f1': 75.0, 'subset_acc': 33.3}
    """
    require_scikit_learn()
    from sklearn.metrics import average_precision_score, f1_score

    there = np.flatnonzero(labels.any(0)).tolist()
    given = logits >= 0
    if decision is not None:
        given = decision.probabilities(logits, task="multilabel") >= np.array(decision.thresholds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label that no image has is left out above
        precisions = [float(average_precision_score(labels[:, k], logits[:, k])) for k in there]
        f1 = [float(f1_score(labels[:, k], given[:, k], zero_division=0.0)) for k in there]
        figures = {
            "map": float(np.mean(precisions)) if precisions else 0.0,
            "macro_f1": float(np.mean(f1)) if f1 else 0.0,
            "micro_f1": float(f1_score(labels.ravel(), given.ravel(), zero_division=0.0)),
            "subset_acc": float((labels == given).all(1).mean()),
        }
    for kind, values in (("ap", precisions), ("f1", f1)):
        figures |= {class_metric(kind, classes[k]): value for k, value in zip(there, values, strict=True)}
    return {name: 100 * value for name, value in figures.items()}


def label_loss(
    labels: NDArray[np.bool_], logits: NDArray[np.float32], *, decision: Decision | None = None
) -> float:
    """Binary cross-entropy, summed over the classes, mean over the images, nats; of (N, K) each.

    Of a calibrated network it is that of its calibrated probabilities.

    >>> round(label_loss(np.array([[True, False]]), np.zeros((1, 2), np.float32)), 4)  # 2 · log 2
    1.3863
    """
    z = logits.astype(np.float64) if decision is None else decision.calibrated(logits)
    terms = np.logaddexp(0, z) - labels * z
    return float(terms.sum() / len(z))
