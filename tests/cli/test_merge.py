"""`mobileone merge`, and the commands whose results it takes."""

import json

import numpy as np
import pytest

from mobileone.curation.embeddings import Embeddings


def test_predict_in_a_folder_and_merge(run, model_file, photos, tmp_path):
    out = tmp_path / "out"
    code, said, err = run("predict", model_file, photos / "val", "-o", f"{out}/", "--part-size", 4)
    assert (code, said) == (0, f"{out}: 2 of 2 parts done here, 6 images\n")
    assert "mobileone merge" in err
    code, said, _ = run("predict", model_file, photos / "val", "-o", out, "--part-size", 4, "--json")
    assert (code, json.loads(said)["there_before"]) == (0, 2)
    code, said, err = run("merge", out, "-o", tmp_path / "all.jsonl")
    assert (code, said) == (0, "2 parts, 6 images, each once\n")
    code, _, _ = run("predict", model_file, photos / "val", "-o", tmp_path / "one.jsonl")
    together, one = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("all.jsonl", "one.jsonl")
    )
    assert [each["image"] for each in together] == [each["image"] for each in one]
    assert np.allclose(*([each["scores"][0]["probability"] for each in rows] for rows in (together, one)))
    code, _, err = run("merge", out, "-o", tmp_path / "all.jsonl")
    assert (code, "exists already; pass --force" in err) == (1, True)


def test_test_in_a_folder_has_the_same_line(run, model_file, photos, tmp_path):
    code, one, _ = run("test", model_file, "--data", photos, "--workers", 0)
    code, said, _ = run("test", model_file, "--data", photos, "-o", tmp_path / "out", "--part-size", 2)
    assert (code, "3 of 3 parts done here" in said) == (0, True)
    code, said, err = run("merge", tmp_path / "out")
    assert (code, said, "6 images, each once" in err) == (0, one, True)
    code, said, _ = run("merge", tmp_path / "out", "--json")
    assert json.loads(said)["result"]["num_images"] == 6


def test_embed_in_a_folder(run, model_file, photos, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow, an extra")
    out, target = tmp_path / "out", tmp_path / "v.npy"
    code, said, err = run("embed", model_file, photos, "-o", out, "--part-size", 9)
    assert (code, "3 of 3 parts done here" in said) == (0, True), err
    code, said, _ = run("merge", out, "-o", target)
    assert (code, len(Embeddings.read(target))) == (0, 22)
    assert len(Embeddings.read(out / "part-000001.parquet")) == 9


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("predict", "M", "D/val", "-o", "out", "--topk", "1"), "was made with topk 5, and now it is 1"),
        (("predict", "M", "D/train", "-o", "out"), "it is of other data"),
        (("predict", "M", "D/val", "-o", "out", "--force"), "--force is for a single file"),
        (("predict", "M", "D/val", "-o", "out", "--png", "a.png"), "--png is for a single file"),
        (("predict", "mobileone_s0", "D/val", "-o", "out"), "holds results of another model"),
        (("embed", "M", "D", "-o", "out", "--part-format", "jsonl"), "holds results of predict, and this is"),
        (("embed", "M", "D", "-o", "out", "--force"), "--force is for a single file"),
        (("test", "M", "--data", "D", "-o", "out.json"), "--output is a folder"),
        (("merge", "D"), "holds no results of parts"),
        (("merge", "out", "-o", "a.csv"), "are merged to .jsonl or .parquet"),
    ],
)
def test_what_does_not_belong_together(run, model_file, photos, tmp_path, monkeypatch, command, told):
    monkeypatch.chdir(tmp_path)
    photos.rename("D") if photos != tmp_path / "D" else None
    assert run("predict", model_file, "D/val", "-o", "out")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    code, out, err = run(*(model_file if word == "M" else word for word in command))
    assert (code, out, err.count("error:"), told in err) == (1, "", 1, True), err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
