"""A test in parts has the figures of one process."""

import pytest
import torch

from mobileone.data.shards.write import ShardSettings, write_shards
from mobileone.decision import Decision
from mobileone.errors import ConfigError
from mobileone.evaluation.evaluate import evaluate
from mobileone.exporting.export import export
from mobileone.inference.predictor import Predictor
from mobileone.model.create import create_model
from mobileone.parts.evaluate_parts import evaluate_parts
from mobileone.parts.merge import merge


def figures(result):
    values = result.to_dict()
    return {name: value for name, value in values.items() if name not in ("seconds", "loss", "notes")}


@pytest.mark.parametrize("calibrated", [False, True])
def test_counts_are_those_of_one_process(predictor, photos, tmp_path, calibrated):
    if calibrated:
        predictor.classifier.decision = Decision(temperatures=(2.0,), thresholds=(0.501,))
        predictor = Predictor(predictor.classifier)
    (photos / "val" / "dog" / "1.jpg").write_bytes(b"no picture")
    report = evaluate_parts(predictor, str(photos), tmp_path / "out", part_size=2, on_bad_image="skip")
    assert report.parts == 4
    one = evaluate(predictor.classifier, photos, on_bad_image="skip", progress=False)
    found = merge(tmp_path / "out").result
    wanted = figures(one) | {"skipped": ["val/dog/1.jpg"]}
    assert figures(found) == wanted
    assert found.loss == pytest.approx(one.loss, rel=1e-5)


@pytest.mark.slow
def test_of_an_exported_file_and_of_shards(predictor, photos, tmp_path, needs_backend):
    needs_backend("onnx")
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    path = export(predictor.classifier.model, tmp_path / "m.onnx", format="onnx").path
    artifact = Predictor.load(path, threads=1)
    write_shards(photos, tmp_path / "made", settings=ShardSettings(shard_size=2), num_workers=0)
    evaluate_parts(artifact, str(tmp_path / "made"), tmp_path / "out", batch_size=64)
    one = evaluate(artifact.classifier, tmp_path / "made", progress=False)
    found = merge(tmp_path / "out").result
    assert figures(found) == figures(one)
    assert found.loss == pytest.approx(one.loss, rel=1e-6)


def test_several_labels_an_image(tiny, photos, tmp_path):
    pytest.importorskip("sklearn", reason="these figures need scikit-learn")
    model = create_model(
        tiny, num_classes=2, form="inference", class_names=("hat", "red"), task="multilabel"
    ).eval()
    model.set_input_size(32)
    rows = [f"val/cat/{i}.jpg,{label}" for i, label in enumerate(("hat", "hat;red", "", "red"))]
    (photos / "list.csv").write_text("\n".join(["image,labels", *rows]))
    evaluate_parts(Predictor(model), str(photos / "list.csv"), tmp_path / "out", part_size=3)
    one = evaluate(model, photos / "list.csv", progress=False)
    found = merge(tmp_path / "out").result
    assert found.metrics == pytest.approx(one.metrics)
    assert found.loss == pytest.approx(one.loss, rel=1e-5)


def test_exclusions_and_notes(predictor, photos, tmp_path):
    (photos / "out.txt").write_text("val/cat/0.jpg\n")
    notes = []
    report = evaluate_parts(
        predictor, str(photos), tmp_path / "out", exclude=photos / "out.txt", on_note=notes.append
    )
    assert report.images_here == 6
    assert any("1 of 7 images left out" in note for note in notes)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "val-000000.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match="exclusions are for folders and lists"):
        evaluate_parts(predictor, str(tmp_path / "s"), tmp_path / "o", exclude=photos / "out.txt")


def test_a_network_without_class_names_takes_the_shards_own(tiny, photos, tmp_path):
    pytest.importorskip("webdataset", reason="shards need webdataset, an extra")
    torch.manual_seed(1)
    model = create_model(tiny, num_classes=2, form="inference").eval()
    model.set_input_size(32)
    write_shards(photos, tmp_path / "made", settings=ShardSettings(shard_size=4), num_workers=0)
    evaluate_parts(Predictor(model), str(tmp_path / "made"), tmp_path / "out")
    assert set(merge(tmp_path / "out").result.to_dict()["per_class"]["recall"]) == {"cat", "dog"}
