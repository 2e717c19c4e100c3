"""An exported file takes pixels, any number, of its own size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact, prepare
from mobileone.backends.manifest import read_manifest
from mobileone.data.pixels import normalize
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.exporting.parity import seeded_pictures
from mobileone.exporting.pipeline import ready
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.input_spec import InputSpec


def test_a_fixed_batch_takes_any_number_of_images(network, tmp_path):
    done = export(network, tmp_path / "net.pt2", format="torch", batch_size=3)
    pixels = seeded_pictures(network.input_spec, number=7)
    expected = TorchClassifier(ready(network)).logits(pixels)
    np.testing.assert_allclose(
        Artifact(done.path).logits(pixels), expected, rtol=0, atol=1e-4 * expected.abs().max()
    )


def test_images_of_another_size_are_refused(network, tmp_path):
    artifact = Artifact(export(network, tmp_path / "net.pt2", format="torch").path)
    with pytest.raises(ConfigError, match="takes images of 32×32, got 64×64"):
        artifact.logits(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_arrays_and_tensors_give_the_same_logits(network, tmp_path):
    artifact = Artifact(export(network, tmp_path / "net.pt2", format="torch", batch_size=3).path)
    pixels = seeded_pictures(network.input_spec, number=4)
    arrays = artifact.run(pixels.permute(0, 2, 3, 1).numpy())
    assert (arrays.dtype, arrays.shape) == (np.float32, (4, network.num_classes))
    assert np.array_equal(arrays, artifact.logits(pixels).numpy())
    assert artifact.run(np.empty((0, 32, 32, 3), np.uint8)).shape == (0, network.num_classes)


@pytest.fixture
def manifest(network, tmp_path):
    return read_manifest(export(network, tmp_path / "net.pt2", format="torch").path)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_input_is_trainings_to_the_bit(manifest, layout, channels):
    spec = InputSpec.for_channels(channels, size=32)
    own = replace(
        manifest, input_spec=spec, tensor=replace(manifest.tensor, layout=layout, channels=channels)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2), spec)
    got = prepare(pixels, own)
    assert got.flags.c_contiguous
    assert np.array_equal(got if layout == "NCHW" else got.transpose(0, 3, 1, 2), expected.numpy())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_bytes_enter_as_they_are(manifest, layout):
    tensor = replace(manifest.tensor, layout=layout, values="pixels", dtype="uint8")
    raw = replace(manifest, tensor=tensor)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    got = prepare(pixels, raw)
    assert np.array_equal(got if layout == "NHWC" else got.transpose(0, 2, 3, 1), pixels)
    assert np.shares_memory(got, pixels) == (layout == "NHWC")
    floats = prepare(pixels, replace(raw, tensor=replace(tensor, dtype="float32")))
    assert np.array_equal(floats, got.astype(np.float32))


def test_channels_that_do_not_fit_are_refused(manifest):
    with pytest.raises(ConfigError, match="images have 4 channels, the exported network takes 3"):
        prepare(np.zeros((1, 32, 32, 4), np.uint8), manifest)
