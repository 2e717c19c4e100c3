"""A folder of results, part by part."""

import json
import os
from dataclasses import replace

import pytest

from mobileone.errors import ConfigError, DataError, MobileOneError
from mobileone.parts.data_part import hash_of_names, named_parts
from mobileone.parts.parts_manifest import manifest_of
from mobileone.parts.result_folder import ResultFolder


@pytest.fixture
def parts():
    return named_parts([f"{number}.jpg" for number in range(4)], part_size=2)


@pytest.fixture
def manifest(predictor, parts):
    return manifest_of(predictor, parts, task="predict", row_format="jsonl", asked={"topk": 1})


def rows(part):
    return [
        [{"image": name, "scores": [], "error": None, "labels": None, "sure": None, "doubt": None}]
        for name in part.open().names
    ]


def test_a_part_appears_whole_with_its_receipt(manifest, parts, tmp_path):
    folder = ResultFolder(tmp_path / "out", manifest)
    assert not folder.is_done(parts[1])
    assert folder.write(parts[1], rows(parts[1])) == 2
    assert folder.is_done(parts[1])
    receipt = json.loads((tmp_path / "out/_receipts/part-000001.json").read_text())
    assert (receipt["images"], receipt["names_hash"]) == (2, hash_of_names(["2.jpg", "3.jpg"]))
    assert len((tmp_path / "out/part-000001.jsonl").read_text().splitlines()) == 2
    assert ResultFolder(tmp_path / "out", manifest).is_done(parts[1])


def test_what_stops_half_way_leaves_nothing(manifest, parts, tmp_path):
    folder = ResultFolder(tmp_path / "out", manifest)

    def broken():
        yield rows(parts[0])[0]
        raise DataError("the shard ends")

    with pytest.raises(DataError, match="the shard ends"):
        folder.write(parts[0], broken())
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "_claims",
        "_manifest.json",
    ]


def test_what_a_killed_process_left_is_cleared_and_what_is_somebody_s_stays(manifest, parts, tmp_path):
    ResultFolder(tmp_path / "out", manifest)
    torn = tmp_path / "out" / ".part-000000.jsonl.unfinished-abc.jsonl"
    beside = tmp_path / "out" / "_receipts" / ".part-000001.json.unfinished-abc.json"
    strange = tmp_path / "out" / ".mine"
    for path in (torn, beside, strange):
        path.write_text("half")
    ResultFolder(tmp_path / "out", manifest)
    assert [path.exists() for path in (torn, beside, strange)] == [False, False, True]


def test_other_results_and_foreign_folders_are_refused(manifest, other_predictor, parts, tmp_path):
    ResultFolder(tmp_path / "out", manifest)
    before = (tmp_path / "out" / "_manifest.json").read_bytes()
    other = manifest_of(other_predictor, parts, task="predict", row_format="jsonl", asked={"topk": 1})
    for wrong, told in (
        (other, "holds results of another model"),
        (
            replace(manifest, asked=dict(manifest.asked) | {"topk": 2}),
            "was made with topk 1, and now it is 2",
        ),
    ):
        with pytest.raises(ConfigError, match=told):
            ResultFolder(tmp_path / "out", wrong)
    assert (tmp_path / "out" / "_manifest.json").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(ConfigError, match=r"mine holds thesis\.txt and no results of parts"):
        ResultFolder(tmp_path / "mine", manifest)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file is a file"):
        ResultFolder(tmp_path / "file", manifest)
    with pytest.raises(MobileOneError, match="cannot"):
        ResultFolder(tmp_path / "file" / "below", manifest)


def test_a_process_that_began_meanwhile_is_not_foreign(manifest, parts, tmp_path, monkeypatch):
    listdir = os.listdir

    def after_another_began(path):
        monkeypatch.setattr(os, "listdir", listdir)
        folder = ResultFolder(path, manifest)
        folder.write(parts[1], rows(parts[1]))
        return listdir(path)

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "listdir", after_another_began)
    assert ResultFolder(tmp_path / "out", manifest).is_done(parts[1])


def test_results_without_a_receipt_are_not_taken_for_ours(manifest, parts, tmp_path):
    folder = ResultFolder(tmp_path / "out", manifest)
    (tmp_path / "out" / "part-000000.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="has no receipt in _receipts"):
        folder.is_done(parts[0])
