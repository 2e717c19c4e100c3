"""Temperature and vector scaling: the numbers that make softmax honest, fitted on images held out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobileone.data.source import Labels
from mobileone.decision import Floats, sigmoid, softmax
from mobileone.errors import MissingExtraError

Method = Literal["temperature", "vector"]
HOTTEST = 100.0  # and 1/100 the coldest: beyond, the logits say nothing, or all answers are right
TIE = 1.0  # how strongly a class's scale and bias are held to the common ones, in images
TINIEST = 1e-300  # a probability below it has this logarithm


def fit_scaling(
    logits: NDArray[np.float32], labels: Labels, method: Method
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Temperatures and biases whose probabilities make the labels likeliest (Guo et al., arXiv 1706.04599).

    `temperature` divides all logits by one number, so no answer changes. `vector` has a temperature and a
    bias a class, held to the common temperature and to 0 as strongly as one image would, since a rare class
    cannot tell its own.

    Args:
        logits: (N, K) of images that the network was not trained on.
        labels: (N,), or of several labels an image bool (N, K), whose probabilities are sigmoids.
        method: which.

    Returns:
        Temperatures and biases, as `Decision` has them: of one number each, or K.

    Raises:
        MissingExtraError: without scipy.

    >>> heat, biases = fit_scaling(
    ...     np.array([[9, 0], [9, 0], [9, 0], [0, 9]], np.float32), np.array([0, 0, 1, 1]), "temperature")
    >>> round(heat[0], 1), biases  # right three times of four: odds of 3
    (8.2, (0.0,))
    """
    optimize = need("scipy.optimize", what="calibrating")
    rows = logits.astype(np.float64)

    def common_loss(log_heat: float) -> float:
        return mean_loss(_probabilities(rows / np.exp(log_heat), labels), labels)

    span = float(np.log(HOTTEST))
    found = optimize.minimize_scalar(
        common_loss, bounds=(-span, span), method="bounded", options={"xatol": 1e-7}
    )
    common = float(found.x)
    if method == "temperature":
        return (float(np.exp(common)),), (0.0,)
    fitted = _fit_vector(rows, labels, common, optimize)
    num_classes = rows.shape[1]
    temperatures = np.exp(np.clip(fitted[:num_classes], -span, span))
    return tuple(map(float, temperatures)), tuple(map(float, fitted[num_classes:]))


def _fit_vector(rows: Floats, labels: Labels, common: float, optimize: Any) -> Floats:
    """(2·K,): logarithms of the temperatures, then biases."""
    number, num_classes = rows.shape
    wanted = truth(labels, num_classes)
    start = np.concatenate([np.full(num_classes, common), np.zeros(num_classes)])

    def loss_and_slope(values: Floats) -> tuple[float, Floats]:
        scaled = rows * np.exp(-values[:num_classes])
        probabilities = _probabilities(scaled + values[num_classes:], labels)
        excess = (probabilities - wanted) / number
        away = values - start
        slope = np.concatenate([-(excess * scaled).sum(0), excess.sum(0)]) + TIE * away / number
        return mean_loss(probabilities, labels) + TIE * float(away @ away) / (2 * number), slope

    found: Floats = optimize.minimize(loss_and_slope, start, jac=True, method="L-BFGS-B").x
    return found


def mean_loss(probabilities: Floats, labels: Labels) -> float:
    """Negative log-likelihood of an image's label, or of all its labels, mean over the images, nats."""
    if labels.ndim == 2:
        own = np.where(labels, probabilities, 1 - probabilities)
        return float(-np.log(np.maximum(own, TINIEST)).sum(1).mean())
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, TINIEST)).mean())


def truth(labels: Labels, num_classes: int) -> Floats:
    """1 for every label that an image has, else 0, float64 (N, K)."""
    rows: Floats = labels.astype(np.float64) if labels.ndim == 2 else np.eye(num_classes)[labels]
    return rows


def _probabilities(scaled: Floats, labels: Labels) -> Floats:
    return sigmoid(scaled) if labels.ndim == 2 else softmax(scaled)


def need(module: str, *, what: str) -> Any:
    """A module of scipy or scikit-learn.

    Raises:
        MissingExtraError: if it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs {module.partition('.')[0]}, which is not installed; pip install 'mobileone[train]'"
        ) from error
