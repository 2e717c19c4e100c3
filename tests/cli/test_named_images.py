"""What a command line names: files, folders and shards."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mobileone.cli.named_images import list_images, opened, still_there
from mobileone.data.shards.write import ShardSettings, write_shards
from mobileone.errors import ConfigError, DataError


@pytest.fixture
def shards(photos, tmp_path):
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    write_shards(photos, tmp_path / "shards", settings=ShardSettings(shard_size=4), num_workers=0)
    return tmp_path / "shards"


def test_folders_stand_for_their_images(photos):
    val = photos / "val"
    found = list_images([str(val / "dog" / "0.jpg"), str(val)])
    assert found == [str(val / "dog" / "0.jpg"), *sorted(map(str, val.glob("*/*.jpg")))]
    assert list(opened(found)) == found
    with pytest.raises(ConfigError, match="at least one image file, folder, list or shard"):
        list_images([])


def test_shards_stand_for_theirs_and_are_read_in_their_turn(photos, shards):
    pattern = str(shards / "val-{000000..000001}.tar")
    found = list_images([pattern, str(photos / "val" / "dog" / "0.jpg")])
    assert [str(image).rpartition(": ")[2] for image in found[:-1]] == [
        str(path.relative_to(photos / "val")) for path in sorted((photos / "val").glob("*/*.jpg"))
    ]
    contents = [image.data for image in list(opened(found))[:-1]]
    assert contents == [path.read_bytes() for path in sorted((photos / "val").glob("*/*.jpg"))]
    assert all(map(still_there, found))
    assert not still_there("nowhere.jpg")
    images = opened(list_images([pattern]))
    (shards / "val-000000.tar").unlink()
    with pytest.raises(DataError, match=r"val-000000\.tar: .*cannot be read"):
        next(images)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_predictions_of_shards_are_those_of_the_files(
    run, model_file, photos, shards, tmp_path, elsewhere, monkeypatch
):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    pattern = f"{'file://' if elsewhere else ''}{shards}/val-{{000000..000001}}.tar"
    for images, target in ((photos / "val", "files.jsonl"), (pattern, "shards.jsonl")):
        code, _, err = run("predict", model_file, images, "-o", tmp_path / target)
        assert code == 0, err
    files, packed = (
        [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
        for name in ("files.jsonl", "shards.jsonl")
    )
    assert [each["scores"] for each in files] == [each["scores"] for each in packed]
    assert packed[0]["image"].endswith(".tar: cat/0.jpg")


def test_an_interrupted_run_over_shards_goes_on(run, model_file, shards, tmp_path):
    table = tmp_path / "p.csv"
    assert run("predict", model_file, shards / "val-000000.tar", "-o", table)[0] == 0
    whole = table.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    table.unlink()
    table.with_name("p.csv.partial").write_text("".join(lines[:5]), encoding="utf-8")
    code, _, err = run("predict", model_file, shards / "val-000000.tar", "-o", table, "--resume")
    assert code == 0, err
    again = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [row["image"] for row in again] == [row["image"] for row in csv.DictReader(whole.splitlines())]


def test_what_cannot_be_meant_is_refused(run, model_file, shards, tmp_path):
    for arguments, wanted in (
        ([shards], "holds shards; name those that are meant"),
        ([shards / "val-000009.tar"], "a shard is missing"),
        ([shards / "val-000000.tar", "--png", tmp_path / "a.png"], "--png draws image files"),
    ):
        code, out, err = run("predict", model_file, *arguments)
        assert (code, out, wanted in err) == (1, "", True), err
    shutil.copy(shards / "val-000000.tar", tmp_path / "alone.tar")
    code, _, err = run("predict", model_file, tmp_path / "alone.tar")
    assert (code, "mobileone shard --index" in err) == (1, True), err


def test_a_data_set_of_the_hubs_library_is_predicted_with_its_names(run, model_file, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    datasets.disable_progress_bars()
    rows = [np.full((40, 48, 3), shade, np.uint8) for shade in (3, 200)]
    features = datasets.Features({"image": datasets.Image()})
    table = datasets.Dataset.from_dict({"image": list(map(Image.fromarray, rows))}, features=features)
    table.save_to_disk(tmp_path / "bare")
    target = tmp_path / "out.csv"
    code, _, err = run("predict", model_file, f"hf:{tmp_path}/bare:train", "-o", target)
    assert code == 0, err
    assert [f"hf:{tmp_path}/bare:train: {index}," in target.read_text() for index in (0, 1)] == [True, True]
    code, _, err = run("embed", model_file, f"hf:{tmp_path}/bare:train", "-o", tmp_path / "v.npy")
    assert code == 0, err
    assert np.load(tmp_path / "v.npy").shape == (2, 32)
