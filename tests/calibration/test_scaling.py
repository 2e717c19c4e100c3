"""Scaling finds the temperature that was put in, and never makes the loss worse."""

import sys

import numpy as np
import pytest

from mobileone.calibration.scaling import fit_scaling, mean_loss
from mobileone.decision import Decision, softmax
from mobileone.errors import MissingExtraError


def loss(logits, labels, temperatures=(1.0,), biases=(0.0,)):
    decision = Decision(temperatures=temperatures, biases=biases)
    return mean_loss(decision.probabilities(logits), labels)


def test_the_temperature_that_was_put_in_is_found(bold):
    (heat,), biases = fit_scaling(*bold, "temperature")
    assert heat == pytest.approx(3, rel=0.05)
    assert biases == (0.0,)
    around = [loss(*bold, (heat * factor,)) for factor in (0.98, 1.0, 1.02)]
    assert min(around) == around[1] < loss(*bold)


def test_vector_scaling_finds_biases_and_temperatures_of_classes(bold):
    logits, labels = bold
    moved = (logits * np.array([1, 2, 1, 1]) + np.array([0, 0, 6, 0])).astype(np.float32)
    temperatures, biases = fit_scaling(moved, labels, "vector")
    assert temperatures[1] / temperatures[0] == pytest.approx(2, rel=0.2)
    assert biases[2] - biases[0] == pytest.approx(-6 / temperatures[2], rel=0.2)
    assert loss(moved, labels, temperatures, biases) < loss(
        moved, labels, *fit_scaling(moved, labels, "temperature")
    )
    assert loss(moved, labels, temperatures, biases) == pytest.approx(loss(logits, labels, (3.0,)), abs=0.01)


def test_a_class_without_images_keeps_near_the_common_temperature(bold):
    logits, labels = bold
    kept = labels != 3
    temperatures, biases = fit_scaling(logits[kept][:200], labels[kept][:200], "vector")
    assert all(0.5 < heat / np.mean(temperatures) < 2 for heat in temperatures)
    assert np.isfinite(biases).all()


@pytest.mark.parametrize("labels", [[0, 1] * 40, [1, 0] * 40], ids=["all right", "all wrong"])
def test_what_no_temperature_can_fit_stays_finite(labels):
    logits = np.tile(np.array([[9, 0], [0, 9]], np.float32), (40, 1))
    for method in ("temperature", "vector"):
        temperatures, biases = fit_scaling(logits, np.array(labels), method)
        Decision(temperatures=temperatures, biases=biases)
        assert np.isfinite(softmax(logits / np.array(temperatures) + np.array(biases))).all()


def test_without_scipy_the_extra_is_named(bold, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtraError, match=r"calibrating needs scipy.*mobileone\[train\]"):
        fit_scaling(*bold, "temperature")
