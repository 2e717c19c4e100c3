"""`mobileone embed`."""

import json

import numpy as np
import pytest

from mobileone.curation.embeddings import Embeddings


def test_vectors_of_a_folder_and_how_well_they_find(run, model_file, photos, tmp_path):
    pytest.importorskip("faiss", reason="needs faiss")
    target = tmp_path / "v.npy"
    code, out, _ = run("embed", model_file, photos, "-o", target)
    vectors = Embeddings.read(target)
    assert (code, f"wrote {target}: {len(vectors)} vectors of" in out, "recall of the class" in out) == (
        0,
        True,
        True,
    )
    assert set(vectors.labels) == {"cat", "dog"}
    assert np.isfinite(vectors.vectors).all()
    code, out, _ = run("embed", model_file, photos, "-o", target, "--force", "--json")
    assert (code, set(json.loads(out)["recall"])) == (0, {"1", "5", "10"})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-o", "v.csv"), "vectors are kept in .npy or .parquet, got v.csv"),
        (("-o", "there.npy"), "exists already; pass --force"),
        (("-o", "v.npy", "--batch-size", 0), "at least 1"),
    ],
)
def test_what_makes_no_sense(run, model_file, photos, tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npy").write_bytes(b"mine")
    before = sorted(tmp_path.iterdir())
    code, out, err = run("embed", model_file, photos, *options)
    assert (code, out, told in err) == (1, "", True)
    assert sorted(tmp_path.iterdir()) == before
