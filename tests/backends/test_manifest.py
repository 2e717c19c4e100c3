"""An artifact is used only with its own, whole manifest."""

import json
from dataclasses import replace

import pytest

from mobileone.backends.manifest import (
    Manifest,
    Parity,
    TensorSpec,
    manifest_path,
    read_manifest,
    record_files,
)
from mobileone.errors import ArtifactError, ConfigError
from mobileone.input_spec import InputSpec

TENSOR = TensorSpec(
    name="images",
    dtype="uint8",
    layout="NHWC",
    values="pixels",
    batch=None,
    channels=3,
    height=32,
    width=32,
)
PARITY = Parity(
    runtime="R 1",
    precision="fp32",
    images="seeded pictures",
    num_images=8,
    max_abs=1e-5,
    max_rel=1e-6,
    top1_agreement=1.0,
    tolerance=1e-4,
)


@pytest.fixture
def artifact(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"graph")
    manifest = Manifest(
        format="onnx",
        files=record_files(path, [path]),
        variant="tiny",
        source="test",
        weights_sha256="0" * 64,
        precision="fp32",
        tensor=TENSOR,
        input_spec=InputSpec(size=32),
        num_classes=2,
        class_names=("cat", "dög"),
        options={"raw_input": True},
        versions={"torch": "2"},
        parity=PARITY,
    )
    manifest.write(manifest_path(path))
    return path, manifest


def test_a_manifest_comes_back_as_it_was_written(artifact):
    path, manifest = artifact
    assert read_manifest(path) == manifest
    assert manifest.size_bytes == 5
    without = replace(manifest, class_names=None, parity=None, note="not compared")
    without.write(manifest_path(path))
    assert read_manifest(path) == without


def test_shape_follows_layout_and_batch():
    assert TENSOR.shape(2) == (2, 32, 32, 3)
    planar = replace(TENSOR, layout="NCHW", batch=1, height=64)
    assert planar.shape(1) == (1, 3, 64, 32)
    with pytest.raises(ConfigError, match="takes 1 images at a time, got 2"):
        planar.shape(2)


def test_a_file_without_manifest_is_refused(artifact):
    path, _ = artifact
    manifest_path(path).unlink()
    with pytest.raises(ArtifactError, match=r"no manifest net\.onnx\.json beside it"):
        read_manifest(path)


def test_an_altered_file_is_refused(artifact):
    path, _ = artifact
    path.write_bytes(b"grapf")  # same length: the hash tells
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        read_manifest(path)


def test_a_missing_part_is_refused(artifact):
    path, manifest = artifact
    weights = path.with_name("net.bin")
    weights.write_bytes(b"w")
    replace(manifest, files=record_files(path, [path, weights])).write(manifest_path(path))
    read_manifest(path)
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"net\.bin is missing"):
        read_manifest(path)


def test_another_artifacts_manifest_is_refused(artifact):
    path, _ = artifact
    other = path.with_name("other.onnx")
    other.write_bytes(b"graph")
    manifest_path(other).write_bytes(manifest_path(path).read_bytes())
    with pytest.raises(ArtifactError, match="another artifact's"):
        read_manifest(other)


@pytest.mark.parametrize(
    "change",
    [
        {"manifest_version": 99},
        {"format": "tensorrt"},
        {"tensor": None},
        {"input_spec": {"size": -1}},
        {"files": "net.onnx"},
        {"surprise": 1},
    ],
)
def test_a_damaged_manifest_is_refused(artifact, change):
    path, manifest = artifact
    manifest_path(path).write_text(json.dumps(manifest.to_dict() | change))
    with pytest.raises(ArtifactError, match=r"no manifest of this package|another artifact's"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\x00"])
def test_garbage_is_refused(artifact, text):
    path, _ = artifact
    manifest_path(path).write_text(text)
    with pytest.raises(ArtifactError, match="no manifest of this package"):
        read_manifest(path)


def test_a_manifest_cannot_name_files_elsewhere(artifact, tmp_path):
    path, manifest = artifact
    outside = replace(manifest.files[0], name="../secret")
    replace(manifest, files=(*manifest.files, outside)).write(manifest_path(path))
    with pytest.raises(ArtifactError, match="outside its folder"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("name", "wanted"), [("missing.onnx", "is not there"), ("a.safetensors", "no exported")]
)
def test_what_is_no_artifact_is_named(tmp_path, name, wanted):
    with pytest.raises(ArtifactError, match=wanted):
        read_manifest(tmp_path / name)
