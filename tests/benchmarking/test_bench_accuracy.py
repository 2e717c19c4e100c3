"""What PyTorch says of the photos that every candidate is held against."""

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.benchmarking.bench_accuracy import Evaluation
from mobileone.benchmarking.subject import read_subjects
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(40):
        path = tmp_path / "photos" / f"class{index % 2}" / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(generator.integers(0, 256, (36, 36, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def evaluate(tmp_path):
    def apply(models, data, most=100):
        workspace = tmp_path / "work"
        workspace.mkdir(exist_ok=True)
        subjects = read_subjects(models)
        return Evaluation.of(subjects, data, most=most, seed=0, workspace=workspace, progress=False)

    return apply


def test_without_photos_there_is_nothing(evaluate, model):
    nothing = evaluate([model], None)
    assert (nothing.photos, nothing.pixels, nothing.logits, nothing.accuracy()) == (None, {}, {}, {})


def test_logits_are_pytorchs_of_the_photos_as_the_network_sees_them(evaluate, model, photos):
    evaluation = evaluate([model], photos)
    pixels = evaluation.pixels[model.input_spec]
    assert (len(evaluation.photos), pixels.shape) == (40, (40, 3, 32, 32))
    logits = torch.from_numpy(np.load(evaluation.logits["tiny"]))
    torch.testing.assert_close(logits, TorchClassifier(model).logits(pixels))
    right = (logits.argmax(1).numpy() == evaluation.photos.labels).mean()
    (accuracy,) = evaluation.accuracy().values()
    assert (accuracy.num_images, accuracy.agreement) == (40, 100.0)
    assert accuracy.top1 == pytest.approx(100 * right)


def test_networks_of_one_view_share_it_and_artifacts_have_no_reference(evaluate, model, photos, tmp_path):
    artifact = export(model, tmp_path / "net.pt2", format="torch").path
    other = create_model("mobileone_s0", num_classes=2, form="inference", input_spec=InputSpec(size=48))
    evaluation = evaluate([model, artifact, other.eval()], photos, most=4)
    assert [spec.size for spec in evaluation.pixels] == [32, 48]
    assert list(evaluation.logits) == ["tiny", "mobileone_s0"]


def test_networks_of_different_classes_are_evaluated_one_at_a_time(evaluate, model, photos, tiny):
    other = create_model(tiny, num_classes=3, form="inference", input_spec=InputSpec(size=32)).eval()
    with pytest.raises(ConfigError, match="have different classes: evaluate one at a time"):
        evaluate([model, other], photos)
