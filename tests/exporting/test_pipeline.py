"""What is written is proved first, and what fails leaves nothing behind."""

import json
import os

import pytest
import torch

from mobileone.backends.export_options import ExportOptions
from mobileone.backends.manifest import manifest_path, read_manifest
from mobileone.backends.table import BACKENDS, find_backend
from mobileone.backends.writer import find_writer
from mobileone.errors import ConfigError, ExportError
from mobileone.exporting.parity import seeded_pictures
from mobileone.exporting.pipeline import (
    Evidence,
    artifact_path,
    choose_target,
    describe,
    ready,
    weights_sha256,
    write_artifact,
)
from mobileone.inference.torch_classifier import TorchClassifier

TORCH = find_backend("torch")


@pytest.fixture
def write(network):
    """Writes the network to a path with the given writing function, the torch backend's unless told."""
    writer, options = find_writer("torch"), ExportOptions()
    pixels = seeded_pictures(network.input_spec)

    def run(target, own=None, **changes):
        manifest = describe(
            network,
            format="torch",
            precision="fp32",
            tensor=writer.tensor(network, options),
            options={"batch": 1},
            versions={"writer": "1"},
            source="test",
        )
        values = {
            "pixels": pixels,
            "expected": TorchClassifier(network).logits(pixels),
            "images": "seeded pictures",
            "tolerance": 1e-4,
        }
        evidence = Evidence(**values | changes)
        return write_artifact(
            own or (lambda file: writer.write(network, file, options)), target, manifest, evidence
        )

    return run


def test_the_manifest_gets_its_files_and_the_proof(write, network, tmp_path):
    manifest = write(tmp_path / "net.pt2")
    assert read_manifest(tmp_path / "net.pt2") == manifest
    assert [record.name for record in manifest.files] == ["net.pt2"]
    assert manifest.versions.keys() == {"mobileone", "torch", "writer"}
    assert manifest.weights_sha256 == weights_sha256(network)
    assert (manifest.parity.num_images, manifest.parity.images) == (8, "seeded pictures")


def test_what_does_not_agree_is_not_put_in_place(write, network, tmp_path):
    expected = TorchClassifier(network).logits(seeded_pictures(network.input_spec))
    with pytest.raises(ExportError, match="does not compute what PyTorch computes"):
        write(tmp_path / "out" / "net.pt2", expected=expected + 1)
    assert list((tmp_path / "out").iterdir()) == []
    write(tmp_path / "out" / "net.pt2", expected=expected + 1, tolerance=None)  # told not to mind


def test_a_failure_to_write_is_one_line_and_leaves_what_was_there(write, tmp_path):
    (tmp_path / "net.pt2").write_text("old")

    def broken(file):
        file.write_text("half")
        raise RuntimeError("\n  no such operator\nand a long story")

    with pytest.raises(ExportError, match=r"^torch cannot be written: no such operator$"):
        write(tmp_path / "net.pt2", broken)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("net.pt2", "old")]


def test_what_writers_say_is_not_heard(write, network, tmp_path, capfd):
    writer = find_writer("torch")

    def loud(file):
        os.write(1, b"converting")  # as native code does
        return writer.write(network, file, ExportOptions())

    write(tmp_path / "net.pt2", loud)
    assert capfd.readouterr().out == ""


def test_a_runtime_that_is_not_here_leaves_a_note(write, tmp_path, monkeypatch):
    from dataclasses import replace

    elsewhere = replace(TORCH, runtime="Moon", executes=(), elsewhere="the moon")
    monkeypatch.setitem(BACKENDS, "torch", elsewhere)
    manifest = write(tmp_path / "net.pt2")
    assert manifest.parity is None
    assert manifest.note == "not compared with PyTorch: Moon runs on the moon only; check it there"
    assert json.loads(manifest_path(tmp_path / "net.pt2").read_text())["note"] == manifest.note


def test_a_folder_gets_a_file_named_after_the_network(tmp_path):
    wanted = tmp_path / "tiny.pt2"
    assert artifact_path(tmp_path, TORCH, "tiny") == wanted
    assert artifact_path(f"{tmp_path}/", TORCH, "tiny") == wanted
    assert artifact_path(tmp_path / "new", TORCH, "tiny") == tmp_path / "new" / "tiny.pt2"
    assert artifact_path("a/b.PT2", TORCH, "tiny").name == "b.PT2"


@pytest.mark.parametrize("name", ["net.onnx", ".ncnn.param"])
def test_another_suffix_is_refused(name):
    with pytest.raises(ConfigError, match=rf"a file of ncnn is called \*\.ncnn\.param, got {name}"):
        artifact_path(name, find_backend("ncnn"), "tiny")


@pytest.mark.parametrize("name", ["net.ncnn.bin", "net.ncnn.param.json"])
def test_what_is_written_beside_the_file_is_not_overwritten_either(network, tmp_path, name):
    (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(ConfigError, match=f"{name} exists already"):
        choose_target(network, tmp_path / "net.ncnn.param", BACKENDS["ncnn"])


def test_an_existing_file_is_refused_before_any_work(network, tmp_path):
    (tmp_path / "tiny.pt2").touch()
    with pytest.raises(ConfigError, match="exists already"):
        choose_target(network, tmp_path, TORCH)
    assert choose_target(network, tmp_path, TORCH, force=True) == tmp_path / "tiny.pt2"


@pytest.mark.parametrize("size", [0, 31, 5000])
def test_sizes_that_make_no_sense_are_refused(network, size):
    with pytest.raises(ConfigError, match=f"between 32.*got {size}"):
        ready(network, input_size=size)


def test_nan_weights_are_refused_by_name(network):
    with torch.no_grad():
        network.head.fc.weight[0, 0] = float("nan")
    with pytest.raises(ExportError, match=r"head\.fc\.weight has NaN"):
        ready(network)


def test_training_mode_and_other_modules_are_refused(network):
    with pytest.raises(ExportError, match=r"call model\.eval\(\) first"):
        ready(network.train())
    with pytest.raises(ConfigError, match="export takes a MobileOne, got Linear"):
        ready(torch.nn.Linear(2, 2))
    network.eval().reset_classifier(0)
    assert ready(network).num_classes == 0


def test_equal_weights_have_equal_hashes(network):
    before = weights_sha256(ready(network))
    assert weights_sha256(ready(network, input_size=64)) == before
    with torch.no_grad():
        network.head.fc.bias[0] += 1
    assert weights_sha256(network) != before
