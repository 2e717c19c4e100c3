"""Vectors come back from their files, and nothing else does."""

import json

import numpy as np
import pytest

from mobileone.curation.embeddings import Embeddings
from mobileone.errors import ConfigError, DataError


def embeddings(**change):
    values = {
        "vectors": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32),
        "names": ("cat/1.jpg", "cat/é.jpg", "dog/=2.jpg", "dog/3.jpg"),
        "labels": ("cat", "cat", "dog", "dog"),
        "folder": "photos",
        "model": "fused",
        "probe": np.array([1, 2, 3], np.float32),
    }
    return Embeddings(**values | change)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("labels", [None, ("cat", "cat", "dog", "dog")])
def test_they_come_back(tmp_path, suffix, labels):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow")
    given = embeddings(labels=labels)
    path = given.write(tmp_path / f"vectors{suffix}")
    read = Embeddings.read(path)
    np.testing.assert_array_equal(read.vectors, given.vectors)
    np.testing.assert_array_equal(read.probe, given.probe)
    for name in ("names", "labels", "folder", "model"):
        assert getattr(read, name) == getattr(given, name)


def test_others_read_them_too(tmp_path):
    given = embeddings()
    np.testing.assert_array_equal(np.load(given.write(tmp_path / "v.npy")), given.vectors)
    assert json.loads((tmp_path / "v.npy.json").read_text(encoding="utf-8"))["images"] == list(given.names)
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    table = parquet.read_table(given.write(tmp_path / "v.parquet"))
    assert table.column_names == ["image", "label", "vector"]
    assert table.column("vector").to_pylist() == given.vectors.tolist()


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("v.npy", lambda p: p.unlink(), "No such file"),
        ("v.npy", lambda p: p.write_bytes(b"no array"), "holds no vectors"),
        ("v.npy", lambda p: np.save(p, np.zeros((4, 3))), "must be float32"),
        ("v.npy", lambda p: np.save(p, np.zeros((3, 3), np.float32)), "3 vectors with 4 names"),
        ("v.npy", lambda p: np.save(p, np.array([{}], object), allow_pickle=True), "holds no vectors"),
        ("v.npy.json", lambda p: p.unlink(), "No such file"),
        ("v.npy.json", lambda p: p.write_text("{}"), "holds no vectors"),
        ("v.npy.json", lambda p: p.write_text(p.read_text().replace('"photos"', "7")), "no text"),
        ("v.npy.json", lambda p: p.write_text(p.read_text().replace("3.0", "3.0, 4.0")), "the probe has"),
    ],
)
def test_what_is_none_is_refused(tmp_path, name, spoil, told):
    path = embeddings().write(tmp_path / "v.npy")
    spoil(tmp_path / name)
    with pytest.raises(DataError, match=told):
        Embeddings.read(path)


def test_a_spoilt_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    path = embeddings().write(tmp_path / "v.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="holds no vectors"):
        Embeddings.read(path)


def test_numbers_that_are_none_and_other_suffixes(tmp_path):
    with pytest.raises(DataError, match="NaN"):
        embeddings(vectors=np.full((4, 3), np.nan, np.float32))
    with pytest.raises(ConfigError, match=r"kept in \.npy or \.parquet"):
        embeddings().write(tmp_path / "v.csv")
    assert list(tmp_path.iterdir()) == []
