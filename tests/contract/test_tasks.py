"""What a network's logits mean goes wherever the network goes."""

import copy

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.exporting.export import export
from mobileone.inference.classifier import array_logits
from mobileone.inference.predictor import Predictor
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.reparam.expand import expand
from mobileone.reparam.fuse import reparameterize


@pytest.fixture
def labelled(tiny, randomize):
    """A network of three labels."""
    model = create_model(
        tiny,
        num_classes=3,
        input_spec=InputSpec(size=32),
        class_names=("hat", "red", "wool"),
        task="multilabel",
    )
    return randomize(model).eval()


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net"])
def test_checkpoints_keep_the_task(labelled, tmp_path, name):
    path = save_model(labelled, tmp_path / name)
    assert load_model(path).task == "multilabel"
    assert describe(path).to_dict()["task"] == "multilabel"


def test_a_pickled_network_keeps_the_task(labelled, tmp_path):
    torch.save(labelled, tmp_path / "whole.pt")
    assert load_model(tmp_path / "whole.pt").task == "multilabel"


def test_a_file_that_does_not_say_has_one_class_an_image(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "foreign.pt")
    assert load_model(tmp_path / "foreign.pt").task == network.task == "singlelabel"


def test_the_forms_of_a_network_have_one_task(labelled):
    fused = reparameterize(labelled)
    assert (fused.task, expand(fused).task, copy.deepcopy(labelled).task) == ("multilabel",) * 3


def test_an_exported_file_answers_with_the_labels_of_the_network(labelled, tmp_path):
    path = export(labelled, tmp_path / "net.pt2", format="torch").path
    artifact = Artifact(path)
    assert artifact.task == artifact.manifest.task == "multilabel"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    predictor, other = Predictor(artifact), Predictor(labelled)
    views = [predictor.view(image) for image in pixels]
    logits = array_logits(artifact, np.stack(views))
    np.testing.assert_allclose(predictor.probabilities(list(pixels)), 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_allclose(
        predictor.probabilities(list(pixels)), other.probabilities(list(pixels)), atol=1e-3
    )
