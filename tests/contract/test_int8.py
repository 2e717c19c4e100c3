"""Every runtime computes the simulator's integers; what is not installed skips."""

from dataclasses import replace

import numpy as np
import pytest

from mobileone.backends.artifact import Artifact
from mobileone.backends.table import BACKENDS, writing
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.quantization.quantize import write_quantized
from mobileone.quantization.simulate import simulate

SLOW = {"executorch"}  # lowering takes seconds; its own test in backends/executorch checks the same and more
# Runtimes round some sums the other way, a step of the average then shows where it is rounded to eight bits.
STEPS = {"weights": 1, "dynamic": 1, "static": 4}


def step(logits):
    """A hundredth of what distinguishes pictures: a wrong integer in the last layers moves less."""
    return 0.01 * logits.std()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in writing("int8")]
)
def test_every_runtime_computes_the_simulators_integers(
    small_network, quantized, other_pictures, tmp_path, needs_backend, name
):
    needs_backend(name)
    backend, pixels = BACKENDS[name], other_pictures
    manifest = write_quantized(
        quantized,
        small_network,
        tmp_path / f"net{backend.suffix}",
        format=name,
        images=pixels,
        expected=TorchClassifier(small_network).logits(pixels),
        options={"batch": 2},
    )
    assert manifest.tensor.shape(2) == (2, 32, 32, 3)
    artifact = Artifact(tmp_path / f"net{backend.suffix}", threads=1)
    assert artifact.session.precision == "int8"
    wanted = simulate(quantized, pixels, head=backend.int8_head).numpy()
    tolerance = STEPS[backend.int8_head] * step(wanted)
    np.testing.assert_allclose(artifact.logits(pixels).numpy(), wanted, rtol=0, atol=tolerance)


def test_the_order_of_a_wrong_border_shows(quantized, other_pictures):
    """The guard of the test above: another border colour is another function."""
    black = replace(quantized, border=0 * quantized.border)
    wanted, other = (simulate(each, other_pictures).numpy() for each in (quantized, black))
    assert np.abs(wanted - other).max() > 4 * step(wanted)
