"""`mobileone check-labels`."""

import json
import shutil

import pytest

for library in ("cleanlab", "faiss", "sklearn"):
    pytest.importorskip(library, reason=f"needs {library}")


def test_a_table_and_a_page_and_what_train_makes_of_them(run, model_file, photos, tmp_path):
    copied = photos / "train" / "dog" / "copy.jpg"
    shutil.copy(sorted((photos / "train" / "cat").glob("*.jpg"))[0], copied)
    table = tmp_path / "suspects.csv"
    code, out, err = run("check-labels", model_file, "--data", photos, "-o", table, "--alike", 0.9999)
    assert code == 0
    assert "contradiction  train/" in out
    assert f"train --exclude {table} leaves them out" in out
    assert "train/dog/copy.jpg" in table.read_text(encoding="utf-8")
    assert "Labels of" in (tmp_path / "suspects.html").read_text(encoding="utf-8")
    code, _, err = run("check-labels", model_file, "--data", photos, "-o", table)
    assert (code, "exists already; pass --force" in err) == (1, True)
    code, out, _ = run(
        "check-labels", model_file, "--data", photos, "-o", table, "--force", "--json", "--alike", 0.9999
    )
    reasons = {each["image"]: each["reason"] for each in json.loads(out)["suspects"]}
    assert reasons["train/dog/copy.jpg"] == "contradiction"
    code, out, err = run("test", model_file, "--data", photos, "--workers", 0, "--exclude", table)
    assert (code, "is an image here" in err) == (1, True)  # these are training images
    table.write_text("image\n" + f"val/cat/{sorted((photos / 'val' / 'cat').iterdir())[0].name}\n")
    code, out, err = run("test", model_file, "--data", photos, "--workers", 0, "--exclude", table)
    assert (code, "images left out by" in err) == (0, True)


def test_class_folders_themselves_are_looked_at(run, model_file, photos, tmp_path):
    """As --help says; they were refused for lack of train/."""
    code, _, err = run("check-labels", model_file, "--data", photos / "train", "-o", tmp_path / "a.csv")
    assert code == 0, err
    code, _, err = run(
        "check-labels", model_file, "--data", photos / "train", "-o", tmp_path / "b.csv", "--split", "train"
    )
    assert (code, "has no train/ folder" in err) == (1, True)


def test_what_makes_no_sense(run, model_file, photos, tmp_path):
    code, _, err = run("check-labels", model_file, "--data", photos, "-o", tmp_path / "a.txt")
    assert (code, "must end in .csv" in err) == (1, True)
    assert not (tmp_path / "a.txt").exists()
