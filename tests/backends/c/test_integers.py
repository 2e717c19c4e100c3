"""NumPy's integers are the simulator's."""

from dataclasses import replace

import numpy as np
import torch

from mobileone.backends.c.integers import run_integers
from mobileone.quantization.simulate import integer_outputs, simulate


def test_the_last_maps_integers_and_the_logits(little, noise):
    images = noise(little, 3)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    for _, integers, _ in integer_outputs(little, pixels):  # noqa: B007
        pass
    logits = simulate(little, pixels, head="static").numpy()
    for image, last, wanted in zip(images, integers.numpy(), logits, strict=True):
        result = run_integers(little, image)
        np.testing.assert_array_equal(result.sums, last.sum((1, 2)))
        np.testing.assert_allclose(result.outputs, wanted, rtol=0, atol=1e-5 * np.abs(logits).max())


def test_calibrated_networks_too(quantized, other_pictures):
    """Real weights: the small network with attention, which calibration has rounded."""
    wanted = simulate(quantized, other_pictures, head="static").numpy()
    images = other_pictures.permute(0, 2, 3, 1).numpy()
    got = np.stack([run_integers(quantized, image).outputs for image in images])
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_without_a_classifier_the_average_comes_out(make_network, noise):
    network = make_network((16, 16, 16, 32), num_classes=0)
    (image,) = noise(network, 1)
    result = run_integers(network, image)
    assert result.class_sums is None
    wanted = simulate(network, torch.from_numpy(image[None]).permute(0, 3, 1, 2), head="static").numpy()[0]
    np.testing.assert_array_equal(result.outputs, wanted)


def test_one_weight_changes_the_digest(little, noise):
    (image,) = noise(little, 1)
    name = little.layers.convs[-1].name
    weight = little.weights[name]
    values = weight.values.copy()
    values[:, 0] ^= 1
    other = replace(little, weights={**little.weights, name: replace(weight, values=values)})
    assert run_integers(little, image).digest != run_integers(other, image).digest
    assert run_integers(little, image).digest == run_integers(little, image).digest
