"""What PyTorch in float says of the photos, once for every network."""

import numpy as np
import pytest
import torch

from mobileone.benchmarking.bench_accuracy import Evaluation
from mobileone.benchmarking.subject import read_subjects
from mobileone.data.pixels import normalize
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


@pytest.fixture
def evaluate(tmp_path, flat_folder):
    def apply(*models, data=flat_folder, most=6):
        return Evaluation.of(
            read_subjects(models), data, most=most, seed=0, workspace=tmp_path, progress=False
        )

    return apply


@pytest.fixture
def three(tiny):
    """A network of as many classes as the folder has."""
    return create_model(tiny, num_classes=3, form="inference", input_spec=InputSpec(size=32)).eval()


def test_nothing_is_read_where_nothing_is_asked_for(evaluate, three):
    found = evaluate(three, data=None)
    assert (found.photos, found.pixels, found.logits, found.accuracy()) == (None, {}, {}, {})


def test_logits_are_pytorchs_and_agree_with_themselves(evaluate, three):
    found = evaluate(three)
    pixels = found.pixels[three.input_spec]
    assert (pixels.shape, pixels.dtype) == ((6, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        wanted = three(normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2), three.input_spec)).numpy()
    np.testing.assert_allclose(np.load(found.logits["tiny"]), wanted, rtol=1e-4, atol=1e-5)
    accuracy = found.accuracy()["tiny"]
    assert (accuracy.num_images, accuracy.agreement) == (6, 100)
    assert accuracy.top1 == pytest.approx(100 * (wanted.argmax(1) == found.photos.labels).mean())


def test_networks_of_one_input_share_the_pixels(evaluate, three, tiny):
    other = create_model(tiny, num_classes=3, form="inference", input_spec=InputSpec(size=32)).eval()
    found = evaluate(three, other)
    assert list(found.pixels) == [InputSpec(size=32)]
    assert list(found.logits) == ["tiny", "tiny (2)"]


def test_networks_of_different_classes_are_refused(evaluate, three, model):
    with pytest.raises(ConfigError, match="have different classes: evaluate one at a time"):
        evaluate(three, model)
