"""Every runtime computes the simulator's integers; what is not installed skips."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from mobileone.backends.artifact import Artifact
from mobileone.backends.fused_layers import layers_of
from mobileone.backends.table import BACKENDS, writing
from mobileone.exporting.parity import seeded_pictures
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.quantization.quantize import quantize, write_quantized
from mobileone.quantization.quantize_layers import quantize_layers
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
    small_network, quantized, other_pictures, unsaturated_pictures, tmp_path, needs_backend, name
):
    needs_backend(name)
    backend, pixels = BACKENDS[name], unsaturated_pictures if name == "onnx" else other_pictures
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


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in writing("int8")]
)
@pytest.mark.parametrize("size", [pytest.param((32, 48), marks=pytest.mark.slow), (48, 33)])
def test_rectangles_too(small_network, tmp_path, needs_backend, exact_bits, name, size):
    needs_backend(name)
    bits = exact_bits(name)
    network = copy.deepcopy(small_network)
    network.set_input_size(size)
    photos = seeded_pictures(network.input_spec, number=8)
    target = tmp_path / f"net{BACKENDS[name].suffix}"
    done = quantize(network, target, images=photos, format=name, weight_bits=bits)
    assert (done.manifest.tensor.height, done.manifest.tensor.width) == size
    assert done.manifest.input_spec.size == size
    wanted = simulate(
        quantize_layers(layers_of(network), photos, weight_bits=bits), photos, head=BACKENDS[name].int8_head
    ).numpy()
    tolerance = STEPS[BACKENDS[name].int8_head] * step(wanted)
    np.testing.assert_allclose(Artifact(target, threads=1).logits(photos), wanted, rtol=0, atol=tolerance)


def test_the_order_of_a_wrong_border_shows(quantized, other_pictures):
    """The guard of the test above: another border colour is another function."""
    black = replace(quantized, border=0 * quantized.border)
    wanted, other = (simulate(each, other_pictures).numpy() for each in (quantized, black))
    assert np.abs(wanted - other).max() > 4 * step(wanted)
