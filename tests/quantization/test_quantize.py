"""Quantising refuses what it cannot calibrate, and calibrates once for any number of runtimes."""

import copy
from dataclasses import replace

import pytest
import torch

from mobileone.backends.fused_layers import layers_of
from mobileone.backends.manifest import read_manifest
from mobileone.backends.quantized_network import Int8Encoding
from mobileone.decision import Decision
from mobileone.errors import ConfigError, DataError, ExportError, MobileOneWarning
from mobileone.quantization import quantize as module
from mobileone.quantization.quantize import Quantizer, check_target, quantize


@pytest.fixture(autouse=True)
def _runtimes(needs_backend):
    for name in ("onnx", "litert"):
        needs_backend(name)


def test_the_result_tells_what_was_done(small_network, small_pictures, tmp_path):
    done = quantize(
        small_network, tmp_path, images=small_pictures, format="litert", batch_size=2, source="mine"
    )
    assert done.path == tmp_path / "tiny.tflite"
    manifest = read_manifest(done.path)
    assert manifest == done.manifest
    calibrated = {"rule": "mse", "weight_bits": 8, "calibration_images": 16}
    assert manifest.options == {"raw_input": True, "batch": 2, **calibrated}
    assert (manifest.precision, manifest.source, manifest.tensor.batch) == ("int8", "mine", 2)
    assert manifest.versions.keys() == {"mobileone", "torch", "ai-edge-litert"}
    assert manifest.parity.images == "calibration images"
    assert manifest.parity.tolerance is None
    assert "compared with float on the calibration images" in manifest.note
    weights = sum(p.numel() for p in small_network.parameters())
    values = done.to_dict()
    assert values["float_bytes"] == 4 * weights
    assert values["int8_bytes"] == manifest.size_bytes
    assert values["layers"][0]["name"] == "stem"
    assert "2 of 16 calibration images are one colour" in values["warnings"][0]


@pytest.mark.parametrize(
    ("change", "error", "wanted"),
    [
        ({"format": "coreml"}, ConfigError, "int8 is written as onnx, openvino.*got 'coreml'"),
        (
            {"prefix": "cat"},
            ConfigError,
            "prefix name functions of source code, which format c is; onnx files",
        ),
        ({"visibility": "hidden", "prefix": "9"}, ConfigError, "prefix and visibility name functions"),
        ({"format": "c", "prefix": "9"}, ConfigError, "must be a C identifier.*got '9'"),
        ({"format": "c", "visibility": "none"}, ConfigError, "one of public, hidden, static, got 'none'"),
        ({"batch_size": 0}, ConfigError, "batch_size must be at least 1, got 0"),
        ({"images": "no such folder"}, DataError, "photos are a folder"),
        ({"images": torch.zeros(1, 3, 32, 32)}, ConfigError, r"must be uint8 \(N, 3, 32, 32\), got float32"),
        ({"images": torch.zeros(1, 3, 9, 9, dtype=torch.uint8)}, ConfigError, r"got uint8 \(1, 3, 9, 9\)"),
        ({"images": torch.zeros(0, 3, 32, 32, dtype=torch.uint8)}, ConfigError, "at least one"),
        ({"weight_bits": 6}, ConfigError, "weight_bits must be 7 or 8, got 6"),
    ],
)
def test_what_makes_no_sense_is_refused(small_network, small_pictures, tmp_path, change, error, wanted):
    values = {"images": small_pictures, "format": "onnx"} | change
    with pytest.raises(error, match=wanted):
        quantize(small_network, tmp_path / "net.onnx", **values)
    assert list(tmp_path.iterdir()) == []


def test_logits_that_overflow_are_refused(network, small_pictures, tmp_path):
    with torch.no_grad():
        network.head.fc.weight.fill_(3e38)
    with pytest.raises(ExportError, match="NaN or infinite logits in float already"):
        quantize(network, tmp_path / "net.onnx", images=small_pictures, format="onnx")


@pytest.mark.parametrize(
    ("format", "bits", "saturates", "warned"),
    [
        ("onnx", 8, True, True),
        ("onnx", 7, True, False),
        ("onnx", 8, False, False),
        ("litert", 8, True, False),
    ],
)
def test_a_processor_that_adds_bytes_otherwise_is_named(
    small_network, small_pictures, tmp_path, monkeypatch, format, bits, saturates, warned
):
    monkeypatch.setattr(module, "saturates_bytes", lambda: saturates)
    done = quantize(small_network, tmp_path, images=small_pictures, format=format, weight_bits=bits)
    assert done.manifest.options["weight_bits"] == bits
    assert any("take weights of seven bits" in line for line in done.warnings) is warned


def test_a_failing_writer_leaves_nothing(small_network, small_pictures, tmp_path, monkeypatch):
    def broken(quantized, path, *, batch):
        path.write_bytes(b"half")
        raise RuntimeError("no such operator")

    monkeypatch.setattr("mobileone.backends.litert.writer_int8.write_int8", broken)
    with pytest.raises(ExportError, match=r"^litert cannot be written in int8: no such operator$"):
        quantize(small_network, tmp_path / "net.tflite", images=small_pictures, format="litert")
    assert list(tmp_path.iterdir()) == []


def test_the_target_is_checked_before_any_work(small_network, tmp_path):
    (tmp_path / "net.onnx").touch()
    with pytest.raises(ConfigError, match="exists already"):
        check_target(small_network, tmp_path / "net.onnx", format="onnx", force=False)
    with pytest.raises(ConfigError, match=r"a file of litert is called \*\.tflite"):
        check_target(small_network, tmp_path / "net.onnx", format="litert", force=True)
    target = check_target(small_network, tmp_path / "net.onnx", format="onnx", force=True)
    assert target == tmp_path / "net.onnx"


def test_a_network_is_calibrated_once_for_all_runtimes(small_network, small_pictures, tmp_path, monkeypatch):
    calls, original = [], module.quantize_layers

    def counted(layers, pixels, **options):
        calls.append(len(pixels))
        return original(layers, pixels, **options)

    monkeypatch.setattr(module, "quantize_layers", counted)
    quantizer = Quantizer(small_pictures)
    for format, suffix in (("litert", ".tflite"), ("onnx", ".onnx")):
        path = quantizer(small_network, tmp_path / f"net{suffix}", format, 1)
        assert read_manifest(path).precision == "int8"
    assert calls == [16]


def test_a_layer_that_few_photos_leave_noisy_is_a_note(small_network, small_pictures, tmp_path, monkeypatch):
    """Few photos are stood in for by a rounding that a tenth of the steps is left to."""
    original = module.quantize_layers

    def coarse(layers, pixels, **options):
        found = original(layers, pixels, **options)
        step = Int8Encoding((20 * found.activations[conv].step,), found.activations[conv].zero_point)
        return replace(found, activations={**found.activations, conv: step})

    conv = layers_of(small_network).convs[2].name
    monkeypatch.setattr(module, "quantize_layers", coarse)
    with pytest.warns(
        MobileOneWarning, match=r"on 16 photos, layer stages\.1\S+ keeps \S+ dB .*, 100"
    ) as told:
        quantize(small_network, tmp_path, images=small_pictures, format="onnx")
    assert len(told) == 1


def test_averages_are_not_taken_for_classes(small_network, tmp_path):
    """Every image has the same largest average: no doubt, for it is no class."""
    network = copy.deepcopy(small_network)
    network.reset_classifier(0)
    with torch.no_grad():
        network.stages[-1][-1].reparam_conv.bias[3] = 100
    photos = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)
    done = quantize(network, tmp_path / "net.onnx", images=photos, format="onnx")
    assert not [line for line in done.warnings if "one class" in line]


def test_a_decision_of_the_float_network_is_not_that_of_its_integers(small_network, small_pictures, tmp_path):
    network = copy.deepcopy(small_network)
    network.decision = Decision(temperatures=(2.0,))
    done = quantize(network, tmp_path, images=small_pictures, format="litert")
    assert done.manifest.decision is None
    assert "calibrated probabilities and thresholds are not this file's" in done.manifest.note
    assert any("calibrate the file itself" in warning for warning in done.warnings)
