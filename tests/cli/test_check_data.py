"""The check-data command."""

import json
import shutil

import pytest
from PIL import Image


def test_check_data_reports_and_previews(run, photos, tmp_path, monkeypatch):
    sheet = tmp_path / "batch.png"
    code, text, err = run("check-data", photos, "--preview", sheet, "--recipe", "paper_s2", "--workers", 0)
    assert code == 0
    assert text.splitlines()[1].split()[:3] == ["train", "16", "0"]
    assert "batch.png: 3 batches" in err
    with Image.open(sheet) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 1000, "photos of noise, after augmentation"
    (photos / "val" / "cat" / "leak.jpg").write_bytes((photos / "train" / "dog" / "1.jpg").read_bytes())
    (photos / "train" / "cat" / "bad.jpg").write_bytes(b"not a picture")
    code, text, err = run("check-data", photos, "--workers", 0, "--json")
    report = json.loads(text)
    assert code == 1
    assert "1 images cannot be decoded, 1 are in both train and val" in err
    assert report["splits"]["train"]["bad"][0]["path"].endswith("bad.jpg")
    assert len(report["shared"]) == len(report["contradictory"]) == 1
    code, text, _ = run("check-data", photos, "--workers", 0)
    assert f"  {photos}/train/cat/bad.jpg: " in text
    monkeypatch.chdir(photos)
    code, text, _ = run("check-data", photos, "--workers", 0)
    assert "  train/cat/bad.jpg: " in text
    assert "  train/dog/1.jpg = val/cat/leak.jpg\n" in text
    code, text, _ = run("check-data", photos / "val", "--workers", 0)
    assert code == 0  # a folder without train/ and val/ is one split
    assert text.splitlines()[1].split()[0] == "val"


def test_files_that_are_not_looked_at_are_counted_and_a_class_of_them_is_an_error(run, photos):
    (photos / "val" / "dog" / "more.heic").write_bytes(b"")
    code, text, _ = run("check-data", photos, "--workers", 0)
    assert (code, "not looked at: 1 .heic" in text) == (0, True)
    (photos / "train" / "eel").mkdir()
    for name in ("1.heic", "2.heic"):
        (photos / "train" / "eel" / name).write_bytes(b"")
    code, text, err = run("check-data", photos, "--workers", 0, "--json")
    report = json.loads(text)["splits"]["train"]
    assert (code, report["ignored"], report["unread"]) == (1, {".heic": 2}, ["eel"])
    assert "no file of class eel is an image" in err


def test_a_split_by_another_name_is_checked_and_said(run, photos):
    (photos / "val").rename(photos / "valid")
    code, text, _ = run("check-data", photos, "--workers", 0)
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()[1:3]] == ["train", "val"]
    assert "has no val/; valid/ is used" in text


def test_a_list_is_checked_split_by_split(run, label_list):
    code, out, err = run("check-data", label_list, "--workers", 0, "--json")
    assert code == 0, err
    splits = json.loads(out)["splits"]
    assert {name: split["num_images"] for name, split in splits.items()} == {"train": 24, "val": 8}
    assert splits["train"]["per_class"] == {"bright": 12, "red": 12}


def checked(run, *arguments):
    """Images of every split, or the error."""
    code, out, err = run("check-data", *arguments, "--workers", 0, "--json")
    return {name: each["num_images"] for name, each in json.loads(out)["splits"].items()} if not code else err


@pytest.mark.parametrize("split", ["train", "val"])
def test_shards_of_one_split_are_checked(run, photos, tmp_path, split):
    """The other was said to be missing."""
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    source = photos if split == "train" else photos / "val"
    shutil.rmtree(photos / "val") if split == "train" else None
    run("shard", source, "-o", tmp_path / "out", "--workers", 0)
    wanted = {split: {"train": 16, "val": 6}[split]}
    assert checked(run, tmp_path / "out") == wanted
    assert checked(run, tmp_path / "out" / f"{split}-000000.tar") == wanted
    index = tmp_path / "out" / f"{split}-000000.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"shards": {}}))
    assert checked(run, tmp_path / "out") == checked(run, tmp_path / "out" / f"{split}-000000.tar") == wanted


def test_shards_of_both_splits_are_checked_by_any_name(run, photos, tmp_path):
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    run("shard", photos, "-o", tmp_path / "out", "--workers", 0)
    train, val = (tmp_path / "out" / f"{split}-000000.tar" for split in ("train", "val"))
    assert checked(run, tmp_path / "out") == checked(run, train) == {"train": 16, "val": 6}
    assert checked(run, val) == {"val": 6}
    assert checked(run, val, "--val-data", train) == {"train": 6, "val": 16}
    train.unlink()
    assert "train-000000.tar cannot be read" in checked(run, tmp_path / "out")


def test_a_split_of_the_hub_that_is_named_is_checked(run, photos, tmp_path, monkeypatch):
    """Another than train, val and test was replaced by the one for validation."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})

    def made(number):
        paths = sorted((photos / "train").rglob("*.jpg"))[:number]
        rows = [{"image": {"bytes": path.read_bytes(), "path": None}, "label": 0} for path in paths]
        return datasets.Dataset.from_list(rows, features=features)

    datasets.DatasetDict(train=made(5), validation=made(4), extra=made(3)).save_to_disk(tmp_path / "saved")
    data = f"hf:{tmp_path}/saved"
    assert checked(run, f"{data}:extra") == {"val": 3}
    assert checked(run, f"{data}:train") == {"train": 5}
    assert "are in both train and val" in checked(run, data)
    assert "are in both" in checked(run, f"{data}:extra", "--val-data", f"{data}:validation")
