"""An exported file takes pixels, any number, of its own size."""

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.exporting.parity import seeded_pictures
from mobileone.exporting.pipeline import ready
from mobileone.inference.torch_classifier import TorchClassifier


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
