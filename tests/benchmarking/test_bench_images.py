"""Inputs of workers: written once, as each network takes them."""

import numpy as np
import pytest

from mobileone.backends.artifact import prepare
from mobileone.backends.manifest import read_manifest
from mobileone.benchmarking.bench_images import InputFiles
from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec

SPEC = InputSpec(size=32)


@pytest.fixture
def files(tmp_path):
    return InputFiles(tmp_path, seed=3)


def test_one_file_for_all_who_take_the_same(files, model, tmp_path):
    export(model, tmp_path / "m.pt2", format="torch")
    manifest = read_manifest(tmp_path / "m.pt2")
    assert files.noise(None, SPEC, 2) == files.noise(None, SPEC, 2) == files.noise(manifest, SPEC, 2)
    assert files.noise(None, SPEC, 1) != files.noise(None, SPEC, 2)
    assert files.noise(None, InputSpec(size=16), 2) != files.noise(None, SPEC, 2)


def test_noise_is_seeded_and_normalised(files, tmp_path):
    batch = np.load(files.noise(None, SPEC, 2))
    assert (batch.shape, batch.dtype) == ((2, 3, 32, 32), np.float32)
    (tmp_path / "again").mkdir()
    assert np.array_equal(batch, np.load(InputFiles(tmp_path / "again", seed=3).noise(None, SPEC, 2)))
    (tmp_path / "other").mkdir()
    assert not np.array_equal(batch, np.load(InputFiles(tmp_path / "other", seed=4).noise(None, SPEC, 2)))
    darkest = -np.array(SPEC.mean) / np.array(SPEC.std)
    assert batch.min((0, 2, 3)) == pytest.approx(darkest, abs=0.1)


def test_photos_stay_the_photos_that_they_are(files):
    pixels = (np.arange(3 * 32 * 32 * 2) % 256).astype(np.uint8).reshape(2, 32, 32, 3)
    written = np.load(files.photos(pixels, None, SPEC))
    back = written * np.array(SPEC.std).reshape(3, 1, 1) + np.array(SPEC.mean).reshape(3, 1, 1)
    np.testing.assert_allclose(255 * back, pixels.transpose(0, 3, 1, 2), atol=1e-3)


def test_an_artifact_gets_what_its_manifest_says(files, model, tmp_path):
    raw = read_manifest(export(model, tmp_path / "raw.pt2", format="torch", raw_input=True).path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    written = np.load(files.photos(pixels, raw, SPEC))
    assert (written.dtype, written.shape) == (np.uint8, (3, 32, 32, 3))
    assert np.array_equal(written, prepare(pixels, raw))
