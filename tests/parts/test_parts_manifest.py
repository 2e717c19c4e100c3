"""What may lie in one folder."""

from dataclasses import replace

import pytest

from mobileone.decision import Decision
from mobileone.errors import DataError
from mobileone.inference.predictor import Predictor
from mobileone.outside_text import json_text
from mobileone.parts.data_part import named_parts
from mobileone.parts.parts_manifest import MANIFEST, PartsManifest, manifest_of


def of(predictor, words, **asked):
    return manifest_of(
        predictor, named_parts(words), task="predict", row_format="jsonl", asked=asked
    ).as_read()


def test_the_same_is_no_difference(predictor):
    assert of(predictor, ["a.jpg"], topk=1).difference(of(predictor, ["a.jpg"], topk=1)) is None


def test_differences_are_named(predictor, other_predictor, make_shards):
    before = of(predictor, ["a.jpg", "b.jpg"], topk=1)
    assert "another model (SHA-256 " in before.difference(of(other_predictor, ["a.jpg", "b.jpg"], topk=1))
    assert before.difference(of(predictor, ["a.jpg", "b.jpg"], topk=2)) == (
        "it was made with topk 1, and now it is 2"
    )
    told = before.difference(of(predictor, ["a.jpg"], topk=1))
    assert told.startswith("it is of other data: where of part-000000 was images 0 to 1, and now")
    assert "names_hash" in before.difference(of(predictor, ["a.jpg", "c.jpg"], topk=1))
    assert (
        before.difference(replace(before, task="embed")) == "it holds results of predict, and this is embed"
    )
    assert before.difference(replace(before, row_format="parquet")) == "its results are jsonl, not parquet"
    half = Predictor(predictor.classifier, exif=False)
    assert "input exif" in before.difference(of(half, ["a.jpg", "b.jpg"], topk=1))
    scaled = Predictor(predictor.classifier, scaled_decoding=True)
    assert "scaled_decoding" in before.difference(of(scaled, ["a.jpg", "b.jpg"], topk=1))
    predictor.classifier.decision = Decision(temperatures=(2.0,))
    assert "calibration" in before.difference(of(Predictor(predictor.classifier), ["a.jpg", "b.jpg"], topk=1))
    shards = make_shards(2)
    assert of(predictor, shards).difference(of(predictor, shards[:1])) == (
        "it is of other data: 2 parts then, 1 now"
    )


def test_a_shard_that_changed_is_other_data_and_one_that_is_gone_is_not(predictor, make_shards, tmp_path):
    shards = make_shards(2)
    before = of(predictor, shards)
    (tmp_path / "shards" / "001.tar").unlink()
    assert before.difference(of(predictor, shards)) is None
    (tmp_path / "shards" / "001.tar").write_bytes(b"x")
    assert "size_bytes of 001 was" in before.difference(of(predictor, shards))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "other"}', '{"format": "mobileone-parts-1"}', "{"], ids=str
)
def test_what_is_no_manifest(tmp_path, text):
    assert PartsManifest.read(tmp_path) is None
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DataError, match="is no manifest of results"):
        PartsManifest.read(tmp_path)


def test_a_part_s_name_leads_nowhere_else(predictor, tmp_path):
    manifest = of(predictor, ["a.jpg"])
    (tmp_path / MANIFEST).write_text(json_text(manifest.to_dict()))
    assert PartsManifest.read(tmp_path).to_dict() == manifest.to_dict()
    bad = replace(manifest, parts=[{"name": "../x", "where": ""}])
    (tmp_path / MANIFEST).write_text(json_text(bad.to_dict()))
    with pytest.raises(DataError, match="a part's name is none"):
        PartsManifest.read(tmp_path)
