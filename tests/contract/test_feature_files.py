"""Networks that give feature maps: every runtime whose line in the table says so gives PyTorch's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import mobileone
from mobileone.backends.artifact import Artifact
from mobileone.backends.manifest import Manifest, manifest_path
from mobileone.backends.table import BACKENDS
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.data.pixels import normalize
from mobileone.errors import ConfigError, ExportError
from mobileone.exporting import export as exporting
from mobileone.exporting.export import export
from mobileone.inference.classifier import load_classifier
from mobileone.inference.predictor import Predictor
from mobileone.quantization.quantize import quantize

RUNNING = [kind.name for kind in BACKENDS.values() if "fp32" in kind.features and kind.executes]
LEVELS = (0, 2, 4)


@pytest.fixture
def trunk(small_network, tmp_path):
    path = save_model(small_network, tmp_path / "whole.safetensors")
    return load_model(path, features_only=True, out_indices=LEVELS)


@torch.inference_mode()
def maps_of(network, pixels):
    return [each.numpy() for each in network(normalize(pixels, network.input_spec))]


def as_bytes(pixels):
    return pixels.permute(0, 2, 3, 1).numpy()  # (N, C, H, W) → (N, H, W, C)


def close(got, wanted, rel=1e-4):
    assert [each.shape for each in got] == [each.shape for each in wanted]
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=rel * np.abs(theirs).max())


@pytest.mark.parametrize("name", RUNNING)
def test_exported_files_give_pytorchs_maps(needs_backend, trunk, other_pictures, tmp_path, name):
    needs_backend(name)
    check_maps(trunk, other_pictures, tmp_path / f"net{BACKENDS[name].suffix}", name, raw_input=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNING)
def test_normalised_input_too(needs_backend, trunk, other_pictures, tmp_path, name):
    needs_backend(name)
    check_maps(trunk, other_pictures, tmp_path / f"net{BACKENDS[name].suffix}", name, raw_input=False)


def check_maps(trunk, pixels, path, name, *, raw_input):
    done = export(trunk, path, format=name, raw_input=raw_input)
    assert [each.name for each in done.manifest.features] == ["features_0", "features_2", "features_4"]
    assert [each.channels for each in done.manifest.features] == trunk.feature_info.channels()
    assert (done.manifest.num_classes, done.manifest.num_outputs) == (0, 0)
    assert done.manifest.parity.max_rel < 1e-4
    assert done.manifest.parity.top1_agreement is None
    artifact = Artifact(done.path, threads=1)
    close(artifact.features(as_bytes(pixels)), maps_of(trunk, pixels))
    nothing = artifact.features(as_bytes(pixels[:0]))
    assert [each.shape[:2] for each in nothing] == [(0, n) for n in trunk.feature_info.channels()]


@pytest.mark.parametrize("name", [name for name in RUNNING if name not in ("ncnn", "executorch")])
def test_batches_of_any_size(needs_backend, trunk, other_pictures, tmp_path, name):
    needs_backend(name)
    done = export(trunk, tmp_path / f"net{BACKENDS[name].suffix}", format=name, dynamic_batch=True)
    artifact = Artifact(done.path, threads=1)
    for pixels in (other_pictures, other_pictures[:3]):
        close(artifact.features(as_bytes(pixels)), maps_of(trunk, pixels))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(kind.name, marks=[pytest.mark.slow] * (kind.name in ("torch", "openvino")))
        for kind in BACKENDS.values()
        if "fp16" in kind.features and kind.executes
    ],
)
def test_half_precision(needs_backend, trunk, other_pictures, tmp_path, name):
    needs_backend(name)
    done = export(trunk, tmp_path / f"net{BACKENDS[name].suffix}", format=name, half=True)
    got = Artifact(done.path, threads=1).features(as_bytes(other_pictures))
    close(got, maps_of(trunk, other_pictures), rel=2e-2)


@pytest.mark.slow
def test_core_ml_names_its_outputs(needs_backend, trunk, tmp_path):
    needs_backend("coreml")
    import coremltools

    done = export(trunk, tmp_path / "net.mlpackage", format="coreml")
    spec = coremltools.utils.load_spec(str(done.path))
    assert [each.name for each in spec.description.output] == ["features_0", "features_2", "features_4"]


def test_branches_are_fused_and_rectangles_kept(tiny, randomize, tmp_path):
    trunk = mobileone.create_model(tiny, features_only=True, out_indices=(1, 3))
    randomize(trunk)
    done = export(trunk, tmp_path / "net.pt2", format="torch", input_size=(64, 32))
    assert [each.shape for each in done.manifest.features] == [(16, 16, 8), (16, 4, 2)]
    pixels = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    close(Artifact(done.path, threads=1).features(as_bytes(pixels)), maps_of(trunk, pixels))


def test_litert_files_are_channels_last_and_name_their_outputs(needs_backend, trunk, tmp_path):
    needs_backend("litert")
    from ai_edge_litert.interpreter import Interpreter

    done = export(trunk, tmp_path / "net.tflite", format="litert")
    assert [each.layout for each in done.manifest.features] == ["NHWC"] * 3
    signature = Interpreter(model_path=str(done.path)).get_signature_list()["serving_default"]
    assert sorted(signature["outputs"]) == ["features_0", "features_2", "features_4"]


def test_one_wrong_map_is_found(monkeypatch, trunk, tmp_path):
    honest = exporting.outputs_of

    def wrong_in_the_middle(network, pixels):
        first, middle, last = honest(network, pixels)
        return [first, middle * 1.01, last]

    monkeypatch.setattr(exporting, "outputs_of", wrong_in_the_middle)
    with pytest.raises(ExportError, match="does not compute what PyTorch computes"):
        export(trunk, tmp_path / "net.pt2", format="torch")
    assert not (tmp_path / "net.pt2").exists()


def test_the_manifest_goes_there_and_back_and_old_ones_are_read(trunk, network, tmp_path):
    done = export(trunk, tmp_path / "maps.pt2", format="torch")
    text = json.loads(manifest_path(done.path).read_text())
    assert Manifest.from_dict(text) == done.manifest
    for bad in ({"channels": 0}, {"layout": "HWC"}, {"name": 3}):
        with pytest.raises(ValueError, match="output"):
            Manifest.from_dict(text | {"features": [text["features"][0] | bad]})
    with pytest.raises(ValueError, match="feature maps and a vector"):
        Manifest.from_dict(text | {"embedding_size": 3})
    old = export(network, tmp_path / "logits.pt2", format="torch").manifest.to_dict()
    del old["features"]
    assert Manifest.from_dict(old).features == ()


def test_maps_are_no_answer_and_classifiers_have_none(trunk, network, tmp_path):
    done = export(trunk, tmp_path / "maps.pt2", format="torch")
    refusal = r"exported tiny gives feature maps \(features_0, .*no single vector; Artifact.features gives"
    for door in (
        lambda: Predictor.load(done.path),
        lambda: load_classifier(done.path),
        lambda: Predictor(Artifact(done.path)),
        lambda: Artifact(done.path).run(np.zeros((1, 32, 32, 3), np.uint8)),
    ):
        with pytest.raises(ConfigError, match=refusal):
            door()
    plain = Artifact(export(network, tmp_path / "net.pt2", format="torch").path)
    with pytest.raises(
        ConfigError, match=r"net.pt2 gives no feature maps; export a network of features_only"
    ):
        plain.features(np.zeros((1, 32, 32, 3), np.uint8))


def test_a_file_of_other_maps_is_refused(trunk, other_pictures, tmp_path):
    done = export(trunk, tmp_path / "maps.pt2", format="torch")
    first, *others = done.manifest.features
    claimed = replace(done.manifest, features=(replace(first, height=3), *others))
    with pytest.raises(mobileone.errors.ArtifactError, match=r"gave maps of .* its manifest says .*again"):
        Artifact(done.path, manifest=claimed).features(as_bytes(other_pictures))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(kind.name, marks=[pytest.mark.slow] * (kind.name == "executorch"))
        for kind in BACKENDS.values()
        if "int8" in kind.features
    ],
)
def test_int8_files_give_nearly_pytorchs_maps(
    needs_backend, trunk, small_pictures, other_pictures, exact_bits, tmp_path, name
):
    needs_backend(name)
    done = quantize(
        trunk,
        tmp_path / f"net{BACKENDS[name].suffix}",
        images=small_pictures,
        format=name,
        weight_bits=exact_bits(name),
    )
    assert [each.name for each in done.manifest.features] == ["features_0", "features_2", "features_4"]
    assert done.manifest.precision == "int8"
    got = Artifact(done.path, threads=1).features(as_bytes(other_pictures))
    for ours, theirs in zip(got, maps_of(trunk, other_pictures), strict=True):
        assert ours.shape == theirs.shape
        assert np.linalg.norm(ours - theirs) < 0.1 * np.linalg.norm(theirs)


def test_a_format_without_maps_is_refused_in_one_line(
    needs_backend, trunk, small_pictures, tmp_path, monkeypatch
):
    needs_backend("litert")
    monkeypatch.setitem(BACKENDS, "litert", replace(BACKENDS["litert"], features=("fp32",)))
    with pytest.raises(ConfigError, match=r"^litert gives no feature maps in int8; .* as onnx, openvino,"):
        quantize(trunk, tmp_path / "net.tflite", images=small_pictures, format="litert")
    assert not list(tmp_path.glob("net*"))


def test_an_altered_trunk_is_refused(trunk, tmp_path):
    trunk.stem.act = torch.nn.SiLU()
    with pytest.raises(ExportError, match=r"stem.act is a SiLU, not a ReLU"):
        export(trunk, tmp_path / "net.pt2", format="torch")
