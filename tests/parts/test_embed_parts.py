"""Vectors in parts, and the file that is made of them."""

import numpy as np
import pytest

from mobileone.curation.embed import embed
from mobileone.curation.embeddings import Embeddings
from mobileone.data.shards.write import ShardSettings, write_shards
from mobileone.parts.embed_parts import embed_parts
from mobileone.parts.merge import merge


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("row_format", ["jsonl", "parquet"])
def test_merged_parts_are_the_vectors_of_one_process(predictor, photos, tmp_path, row_format, suffix):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, an extra")
    (photos / "val" / "cat" / "1.jpg").write_bytes(b"no picture")
    report = embed_parts(
        predictor, str(photos), tmp_path / "out", part_size=3, row_format=row_format, on_bad_image="skip"
    )
    assert (report.parts, report.images_here) == (3, 7)
    merged = merge(tmp_path / "out", tmp_path / f"v{suffix}")
    assert (merged.images, merged.unreadable) == (7, 1)
    found = Embeddings.read(tmp_path / f"v{suffix}")
    wanted = embed(predictor, photos, on_bad_image="skip", progress=False)
    assert (found.names, found.labels, found.folder) == (wanted.names, wanted.labels, wanted.folder)
    assert np.allclose(found.vectors, wanted.vectors, atol=1e-5)
    assert np.allclose(found.probe, wanted.probe, atol=1e-5)


def test_labels_of_shards_and_of_digits(predictor, photos, tmp_path):
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    pytest.importorskip("sklearn", reason="the digits need scikit-learn")
    write_shards(photos, tmp_path / "made", settings=ShardSettings(shard_size=4), num_workers=0)
    embed_parts(predictor, str(tmp_path / "made"), tmp_path / "a", row_format="jsonl")
    merge(tmp_path / "a", tmp_path / "a.npy")
    assert Embeddings.read(tmp_path / "a.npy").labels == (*["cat"] * 4, *["dog"] * 3)
    embed_parts(predictor, "digits", tmp_path / "b", row_format="jsonl", part_size=200)
    assert merge(tmp_path / "b", tmp_path / "b.npy").images == 360
    assert Embeddings.read(tmp_path / "b.npy").names[3] == "digits/val/3"
