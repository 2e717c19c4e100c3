"""One protocol for whatever executes a network."""

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError, InferenceError
from mobileone.exporting.export import export
from mobileone.inference.classifier import (
    Classifier,
    array_logits,
    as_classifier,
    classifying,
    load_classifier,
    logits_in_batches,
    usable_logits,
)
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


@pytest.fixture
def model(tiny, randomize):
    return randomize(create_model(tiny, num_classes=3, input_spec=InputSpec(size=32)))


@pytest.fixture
def artifact_file(model, tmp_path):
    return export(model, tmp_path / "net.pt2", format="torch").path


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)


class Constant:
    """A classifier of one's own."""

    input_spec, num_classes, class_names = InputSpec(size=8), 2, None
    device = torch.device("cpu")

    def logits(self, pixels):
        return torch.zeros(len(pixels), 2)


def test_a_classifier_stays_and_a_network_becomes_one(model, artifact_file):
    own = Constant()
    assert as_classifier(own, device="cpu") is own
    wrapped = as_classifier(model)
    assert isinstance(wrapped, TorchClassifier)
    assert wrapped.model is model
    artifact = Artifact(artifact_file)
    assert as_classifier(artifact) is artifact
    assert isinstance(artifact, Classifier)
    assert artifact.device == torch.device("cpu")


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_wrapped_networks_are_unwrapped(model, pixels):
    expected = TorchClassifier(model).logits(pixels)
    wrappers = (torch.nn.DataParallel, torch.compile, torch.optim.swa_utils.AveragedModel)
    for wrap in wrappers:
        classifier = as_classifier(wrap(model))
        assert classifier.class_names is None
        assert torch.equal(classifier.logits(pixels), expected)
    assert as_classifier(wrappers[0](model), fuse=True).model.form == "inference"


def test_logits_that_are_no_answer_are_refused(pixels):
    arrays = pixels.permute(0, 2, 3, 1).numpy()

    class Broken(Constant):
        def logits(self, pixels):
            return torch.stack([pixels.float().mean((1, 2, 3)) / 0, torch.zeros(len(pixels))], dim=1)

    with pytest.raises(InferenceError, match="NaN or infinite logits for 5 of 5 images"):
        array_logits(Broken(), arrays)
    with pytest.raises(InferenceError, match=r"gives \(5, 3\) where \(N, 2\) was expected"):
        usable_logits(np.zeros((5, 3), np.float32), 2)


def test_what_is_neither_is_refused(model):
    class Deviceless:
        input_spec, num_classes, class_names, logits = InputSpec(), 2, None, None

    for wrong in (Deviceless(), torch.nn.Identity()):
        with pytest.raises(ConfigError, match=f"a model is a MobileOne, .* got {type(wrong).__name__}"):
            as_classifier(wrong)


def test_a_network_is_in_eval_mode_for_a_while(model):
    model.train()
    with classifying(model) as classifier:
        assert not any(module.training for module in model.modules())
        assert classifier.model is model
    assert all(module.training for module in model.modules())

    def fail():
        with classifying(model):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.training
    own = Constant()
    with classifying(own) as classifier:
        assert classifier is own


def test_batches_give_the_same_logits(model, pixels):
    classifier = TorchClassifier(model)
    whole = classifier.logits(pixels)
    torch.testing.assert_close(logits_in_batches(classifier, pixels, batch_size=2), whole)


def test_models_and_exported_files_load_alike(model, artifact_file, tmp_path, pixels):
    weights = save_model(model, tmp_path / "net.safetensors")
    network, exported = load_classifier(weights), load_classifier(artifact_file, threads=1)
    assert (type(network), type(exported)) == (TorchClassifier, Artifact)
    assert network.model.form == "inference"
    torch.testing.assert_close(network.logits(pixels), exported.logits(pixels), rtol=1e-3, atol=1e-3)


def test_options_of_the_other_kind_are_refused(model, artifact_file, tmp_path):
    weights = save_model(model, tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match="no exported file, so threads does not apply"):
        load_classifier(weights, threads=1)
    with pytest.raises(ConfigError, match="runs in fp32, bf16 or fp16, not in int8"):
        load_classifier(weights, precision="int8")
    for precision, amp in ((None, None), ("fp32", None), ("bf16", "bf16")):
        assert load_classifier(weights, precision=precision).amp == amp
    with pytest.raises(ConfigError, match="runs on the CPU, not on cuda:1; give no device"):
        load_classifier(artifact_file, device="cuda:1")
    assert load_classifier(artifact_file, device="cpu").num_classes == 3


def test_arrays_are_answered_by_every_kind_of_classifier(model, artifact_file, pixels):
    arrays = pixels.permute(0, 2, 3, 1).numpy()
    expected = TorchClassifier(model.eval()).logits(pixels).numpy()
    np.testing.assert_allclose(array_logits(TorchClassifier(model), arrays), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(array_logits(Artifact(artifact_file), arrays), expected, rtol=1e-3, atol=1e-3)
    assert np.array_equal(array_logits(Constant(), arrays), np.zeros((5, 2), np.float32))
