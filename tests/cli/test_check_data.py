"""The check-data command."""

import json

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
