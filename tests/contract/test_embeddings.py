"""Networks without classifier: every runtime gives their pooled features, in float32 and in int8."""

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.backends.table import BACKENDS, writing
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.exporting.parity import seeded_pictures
from mobileone.inference.predictor import Predictor
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.quantization.quantize import quantize

RUNNING = [kind.name for kind in BACKENDS.values() if "fp32" in kind.executes and "fp32" in kind.writes]
SLOW = {"executorch"}  # lowering takes seconds


@pytest.fixture
def backbone(small_network, tmp_path):
    path = save_model(small_network, tmp_path / "whole.safetensors")
    return load_model(path, num_classes=0)


@pytest.fixture
def photos():
    return [np.random.default_rng(i).integers(0, 256, (50, 40, 3), dtype=np.uint8) for i in range(5)]


@pytest.mark.parametrize("name", RUNNING)
def test_exported_files_embed_like_pytorch(needs_backend, backbone, small_network, photos, tmp_path, name):
    needs_backend(name)
    done = export(backbone, tmp_path / f"net{BACKENDS[name].suffix}", format=name, raw_input=True)
    assert (done.manifest.num_classes, done.manifest.num_outputs) == (0, 32)
    assert done.manifest.parity.max_rel < 1e-4
    predictor = Predictor.load(done.path, threads=1)
    wanted = Predictor(small_network).embed(photos)
    assert wanted.shape == (5, 32)
    np.testing.assert_allclose(
        predictor.embed(photos, batch_size=2), wanted, atol=1e-4 * np.abs(wanted).max()
    )
    assert predictor.embed([]).shape == (0, 32)
    with pytest.raises(ConfigError, match=r"no classifier .* use embed"):
        predictor(photos[0])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in writing("int8")]
)
def test_int8_files_embed_nearly_like_pytorch(
    needs_backend, backbone, small_pictures, other_pictures, unsaturated_pictures, tmp_path, name
):
    needs_backend(name)
    pictures = unsaturated_pictures if name == "onnx" else other_pictures
    done = quantize(backbone, tmp_path / f"net{BACKENDS[name].suffix}", images=small_pictures, format=name)
    expected = TorchClassifier(backbone).logits(pictures)
    got = Artifact(done.path, threads=1).logits(pictures)
    assert torch.nn.functional.cosine_similarity(got, expected).min() > 0.97
    assert (got - expected).norm() < 0.2 * (expected - expected.mean(0)).norm() + 0.05 * expected.norm()


def test_embeddings_are_what_the_head_reads(small_network, backbone, photos, tmp_path):
    features = Predictor(small_network).embed(iter(photos))
    np.testing.assert_allclose(Predictor(backbone).embed(photos), features, rtol=1e-5, atol=1e-6)
    pixels = seeded_pictures(small_network.input_spec, number=3)
    classifier = TorchClassifier(small_network)
    with torch.inference_mode():
        logits = small_network.head.fc(classifier.embeddings(pixels))
    torch.testing.assert_close(logits, classifier.logits(pixels), rtol=1e-4, atol=1e-4)
    hooked = Predictor(small_network)
    handle = small_network.head.register_forward_hook(lambda *_: None)
    with pytest.raises(ConfigError, match="the ClassifierHead has a hook of its own; embed needs it plain"):
        hooked.embed(photos)
    handle.remove()


def test_what_has_no_embeddings_is_refused(small_network, photos, tmp_path):
    done = export(small_network, tmp_path / "net.pt2", format="torch")
    with pytest.raises(ConfigError, match=r"gives logits, no embeddings; export it without its classifier"):
        Predictor.load(done.path).embed(photos)
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        Predictor(small_network).embed(photos, batch_size=0)
