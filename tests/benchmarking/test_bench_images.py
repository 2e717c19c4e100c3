"""Inputs for the workers, as each artifact takes them, and each written once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import prepare
from mobileone.backends.manifest import read_manifest
from mobileone.benchmarking.bench_images import InputFiles
from mobileone.data.pixels import normalize
from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec

SPEC = InputSpec(size=32)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "inputs").mkdir()
    return InputFiles(tmp_path / "inputs", seed=0)


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)


def test_without_an_artifact_images_are_as_our_networks_take_them(files, pixels):
    written = np.load(files.photos(pixels, None, SPEC))
    assert np.array_equal(written, normalize(pixels, SPEC).numpy())


def test_an_artifact_gets_what_its_manifest_says(files, pixels, model, tmp_path):
    raw = read_manifest(export(model, tmp_path / "raw.pt2", format="torch", raw_input=True).path)
    written = np.load(files.photos(pixels, raw, SPEC))
    assert (written.dtype, written.shape) == (np.uint8, (3, 32, 32, 3))
    assert np.array_equal(written, prepare(pixels, raw))


def test_the_same_input_is_written_once(files, pixels, model, tmp_path):
    plain = read_manifest(export(model, tmp_path / "plain.pt2", format="torch").path)
    first = files.photos(pixels, None, SPEC)
    assert files.photos(pixels, plain, SPEC) == first, "the layout of our networks"
    others = [
        files.photos(pixels[:2], None, SPEC),
        files.photos(pixels, None, replace(SPEC, mean=(0.1, 0.2, 0.3))),
        files.noise(None, SPEC, 3),
        files.noise(None, SPEC, 1),
    ]
    assert len({first, *others}) == 5


def test_noise_is_seeded(files, tmp_path):
    (tmp_path / "again").mkdir()
    again = InputFiles(tmp_path / "again", seed=0)
    one, other = (np.load(each.noise(None, SPEC, 2)) for each in (files, again))
    assert np.array_equal(one, other)
    assert one.std() > 0.5
