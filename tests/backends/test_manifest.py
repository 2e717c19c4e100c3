"""An artifact is used only with its own, whole manifest."""

import json
import os
from dataclasses import asdict as vars_of
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
from mobileone.backends.table import backend_of
from mobileone.decision import Decision
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
    decided = replace(manifest, decision=Decision(temperatures=(1.5,), thresholds=(0.5, 0.75)))
    decided.write(manifest_path(path))
    assert read_manifest(path) == decided
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
        {"task": "both"},
        {"task": None},
        {"decision": []},
        {"decision": {"temperatures": [-1.0]}},
        {"decision": {"thresholds": [0.5, 0.5, 0.5]}},
        {"num_classes": 10**12, "class_names": None},
        {"num_classes": 10**4000, "class_names": None},
        {"num_classes": -1, "class_names": None},
        {"num_classes": True},
        {"num_classes": 2.0},
        {"num_classes": "2"},
        {"class_names": ["cat"]},
        {"class_names": ["cat", 2]},
        {"class_names": ["cat", "\ud800"]},
        {"class_names": 7},
        {"class_names": {"cat": 1, "dog": 2}},
        {"precision": "fp64"},
        {"precision": ["fp32"]},
        {"source": "x" * 10_000},
        {"note": None},
        {"licence": "mine"},
        {"licence": ["apple"]},
        {"options": []},
        {"versions": 1},
        {"parity": {"runtime": "R"}},
        {"input_spec": {"size": 10**9}},
        {"input_spec": {"mean": [10**400, 1, 1]}},
        {"input_spec": {"crop": 1e-300}},
        {"tensor": vars_of(TENSOR) | {"batch": 10**9}},
        {"tensor": vars_of(TENSOR) | {"batch": 0}},
        {"tensor": vars_of(TENSOR) | {"height": 10**9}},
        {"tensor": vars_of(TENSOR) | {"width": "32"}},
        {"tensor": vars_of(TENSOR) | {"layout": "CHWN"}},
        {"tensor": vars_of(TENSOR) | {"dtype": ["uint8"]}},
        {"tensor": vars_of(TENSOR) | {"name": 3}},
        {"files": [{"name": "net.onnx", "sha256": "0", "size_bytes": 2**50}]},
        {"files": [{"name": "net.onnx", "sha256": 0, "size_bytes": 5}]},
        {"files": [{"name": ["net.onnx"], "sha256": "0", "size_bytes": 5}]},
        {"nested": "[" * 100_000},
    ],
)
def test_a_damaged_manifest_is_refused(artifact, change):
    path, manifest = artifact
    text = json.dumps(manifest.to_dict() | {key: value for key, value in change.items() if key != "nested"})
    manifest_path(path).write_text(change.get("nested", text))
    with pytest.raises(ArtifactError, match=r"no manifest of this package|another artifact's") as caught:
        read_manifest(path)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_hostile_manifests_over_the_limits_are_refused_and_the_limits_can_be_set(artifact, monkeypatch):
    path, manifest = artifact
    many = replace(manifest, num_classes=2_000_000, class_names=None)
    many.write(manifest_path(path))
    with pytest.raises(ArtifactError, match=r"0\.\.1000000 \(\$MOBILEONE_MAX_CLASSES sets it\), got 2000000"):
        read_manifest(path)
    monkeypatch.setenv("MOBILEONE_MAX_CLASSES", "2000000")
    assert read_manifest(path) == many
    monkeypatch.setenv("MOBILEONE_MAX_JSON_BYTES", "100")
    with pytest.raises(ArtifactError, match="larger than 100"):
        read_manifest(path)


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_a_fifo_in_place_of_an_artifact_or_its_manifest_is_refused_at_once(artifact, suffix, no_hang):
    path, _ = artifact
    fifo = path.with_name(path.name + suffix)
    fifo.unlink()
    os.mkfifo(fifo)
    with pytest.raises(ArtifactError, match=r"a pipe|is missing"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("name", "companion"), [("net.xml", "net.bin"), ("net.ncnn.param", "net.ncnn.bin"), ("net.c", "net.h")]
)
def test_what_the_runtime_opens_besides_must_be_listed(artifact, name, companion):
    path, manifest = artifact
    main, beside = path.with_name(name), path.with_name(companion)
    main.write_bytes(b"graph")
    beside.write_bytes(b"not hashed")
    manifest = replace(manifest, format=backend_of(main).name, files=record_files(main, [main]))
    manifest.write(manifest_path(main))
    with pytest.raises(ArtifactError, match=f"does not list {companion}"):
        read_manifest(main)
    replace(manifest, files=record_files(main, [main, beside])).write(manifest_path(main))
    read_manifest(main)


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
