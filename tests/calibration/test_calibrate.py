"""From a network and a set to a decision, its figures, and what is said about both."""

import dataclasses

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.calibration.calibrate import TRAINED_ON, calibrate, labelled_logits, were_trained_on
from mobileone.calibration.scaling import fit_scaling
from mobileone.calibration.thresholds import Target
from mobileone.data.digits import load_digits
from mobileone.data.fingerprint import Fingerprint
from mobileone.decision import MAX_TEXT
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.training.run.run_dir import RunDir
from mobileone.variants import Variant

pytest.importorskip("sklearn", reason="needs scikit-learn")


@pytest.fixture
def known(recalled, bold):
    return recalled(*bold)


def test_a_bold_network_is_made_honest(known, bold):
    model, source = known
    result = calibrate(model, source, target=Target(aim="precision", value=0.9), progress=False)
    assert result.decision.temperatures == fit_scaling(*bold, "temperature")[0]
    assert result.before.ece > 0.15
    assert result.after.ece < 0.04
    assert result.after.brier < result.before.brier
    assert result.after.loss < result.before.loss
    assert result.accepted_accuracy == pytest.approx(0.9, abs=0.02)
    assert result.coverage == pytest.approx(result.decision.sure(bold[0]).mean(), abs=0.03)
    evidence = result.decision.evidence
    assert (evidence["num_images"], evidence["target"], evidence["runs"]) == (
        2000,
        "precision 0.9",
        "recalled",
    )
    assert evidence["ece_after"] == result.to_dict()["ece_after"] == result.after.ece
    assert all("0.9 was asked for: ask for more than you need" in note for note in result.notes)
    assert bool(result.notes) == (result.accepted_accuracy < 0.9)
    easy = calibrate(model, source, target=Target(aim="precision", value=0.5), progress=False)
    assert (easy.notes, easy.coverage) == ((), 1)


def test_figures_after_are_of_images_that_were_not_fitted(recalled):
    random = np.random.default_rng(2)
    logits = random.normal(size=(60, 4)).astype(np.float32)  # says nothing: a fit on all would flatter
    model, source = recalled(logits, random.integers(0, 4, 60))
    result = calibrate(model, source, method="vector", progress=False)
    own = result.decision.probabilities(logits)[np.arange(60), source.labels]
    assert result.after.loss > -np.log(own).mean() + 0.01
    assert "60 images: a share of 0.9 is uncertain by 0.076" in result.notes[0]


def test_thresholds_too_rare_to_check_are_said(recalled):
    labels = np.arange(60) % 4
    logits = (3 * np.eye(4)[labels]).astype(np.float32)
    model, source = recalled(logits, labels)
    target = Target(aim="precision", value=0.9, per_class=True)
    result = calibrate(model, source, target=target, progress=False)
    assert any("too few images to choose thresholds on a part" not in note for note in result.notes)
    fewer = recalled(logits[:50], labels[:50])
    assert any("flatter" in note for note in calibrate(*fewer, target=target, progress=False).notes)


def test_novel_images_are_told_by_their_logits(known, bold, tmp_path):
    model, source = known
    model.rows = torch.cat([model.rows, torch.zeros(500, 4)])  # numbers from 2000 on: no logit stands out
    for number in range(2000, 2030):
        colour = (number // 256, number % 256, 0)
        (tmp_path / "deep").mkdir(exist_ok=True)
        PIL.Image.new("RGB", (4, 4), colour).save(tmp_path / "deep" / f"{number}.png")
    result = calibrate(model, source, ood=tmp_path, keep=0.9, progress=False)
    assert result.decision.novelty == "energy"
    familiar = result.decision.doubts(bold[0])
    assert familiar.count("novel") == pytest.approx(200, abs=1)
    assert [figures.score for figures in result.novelty] == ["energy", "max_logit"]
    assert result.novelty[0].auroc > 0.8
    assert result.decision.evidence["ood_images"] == 30
    (tmp_path / "deep" / "bad.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"bad\.png"):
        calibrate(model, source, ood=tmp_path, progress=False)
    left = calibrate(model, source, ood=tmp_path, keep=0.9, on_bad_image="skip", progress=False)
    assert "1 of the novel images could not be read" in left.notes
    assert left.decision == result.decision
    other = calibrate(model, source, novelty="max_logit", progress=False)
    assert (other.decision.novelty, other.novelty) == ("max_logit", ())


def test_a_target_holds_behind_the_novelty_limit(known, bold):
    target = Target(aim="recall", value=0.5)
    result = calibrate(*known, target=target, novelty="energy", keep=0.8, progress=False)
    logits, labels = bold
    right = result.decision.sure(logits) & (result.decision.probabilities(logits).argmax(1) == labels)
    assert right.mean() >= 0.5


def test_training_images_are_noticed(network, tmp_path):
    train, val = load_digits("train"), load_digits("val")
    RunDir(tmp_path).note_images({"training": Fingerprint.of(train)})
    assert were_trained_on(train, tmp_path)
    assert not were_trained_on(val, tmp_path)
    assert not were_trained_on(train, tmp_path / "no run")
    network.reset_classifier(10, class_names=tuple("0123456789"))
    noted = calibrate(network, val, run_dir=tmp_path, progress=False).notes
    assert TRAINED_ON not in noted
    assert TRAINED_ON in calibrate(network, val, split="train", progress=False).notes


@pytest.mark.parametrize(
    ("number", "change", "error", "told"),
    [
        (49, {}, DataError, "needs at least 50 images .* got 49"),
        (500, {"labels": 0}, DataError, "all 500 images are of class a"),
        (500, {"keep": 1.0}, ConfigError, "keep must be between 0 and 1"),
        (500, {"target": Target(aim="recall", value=1.0)}, DataError, r"recall 1 cannot be met .* 0\.\d+ is"),
        (500, {"ood": "no such folder"}, DataError, "no such folder"),
    ],
)
def test_what_makes_no_sense_is_refused(recalled, bold, number, change, error, told):
    labels = np.zeros(number, int) if "labels" in change else bold[1][:number]
    model, source = recalled(bold[0][:number], labels)
    change = {name: value for name, value in change.items() if name != "labels"}
    with pytest.raises(error, match=told):
        calibrate(model, source, progress=False, **change)


def test_a_network_of_any_size_says_what_runs_it():
    many = Variant("many", (8, 8, 16, 16), num_conv_branches=4, depths=(1, 1, 1, 1))
    model = create_model(many, num_classes=10, input_spec=InputSpec(size=32))
    assert len(str(model)) > MAX_TEXT  # as of every published one
    decision = calibrate(model, "digits", progress=False).decision
    assert decision.evidence["runs"] == "in train form"


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_several_labels_an_image_get_sigmoids_and_thresholds(recalled, method):
    random = np.random.default_rng(0)
    honest = random.normal(scale=2, size=(1500, 4))
    labels = random.random((1500, 4)) < 1 / (1 + np.exp(-honest))
    model, source = recalled((3 * honest).astype(np.float32), labels)
    model.task = "multilabel"
    target = Target(aim="precision", value=0.9, per_class=True)
    result = calibrate(model, source, method=method, target=target, progress=False)
    assert np.mean(result.decision.temperatures) == pytest.approx(3, rel=0.1)
    assert result.before.ece > 0.05 > 0.03 > result.after.ece
    assert result.before.counts.sum() == 6000
    assert result.to_dict()["num_images"] == result.num_images == 1500
    given = result.decision.probabilities(model.rows.numpy(), task="multilabel") >= np.array(
        result.decision.thresholds
    )
    for column in range(4):
        assert labels[given[:, column], column].mean() >= 0.9
    assert result.accepted_accuracy == pytest.approx(0.9, abs=0.02)
    assert result.coverage == pytest.approx(given[labels].mean(), abs=0.05)
    assert result.curve.coverage[-1] == 1
    plain = calibrate(model, source, progress=False)
    assert plain.decision.thresholds == (0.5,)


def test_a_network_without_classes_is_refused(known, network):
    source = known[1]
    network.reset_classifier(0)
    with pytest.raises((ConfigError, DataError)):
        calibrate(network, source, progress=False)


def test_classes_without_images_are_said(recalled, bold):
    logits, labels = bold
    kept = labels != 3
    result = calibrate(*recalled(logits[kept], labels[kept]), progress=False)
    assert "no image of 1 of 4 classes, the first is d" in result.notes


def test_logits_come_in_the_order_of_the_set(known, bold):
    logits, labels = labelled_logits(*known, batch_size=37, progress=False)
    np.testing.assert_array_equal(logits, bold[0])
    np.testing.assert_array_equal(labels, bold[1])
    model, source = known
    model.rows = model.rows * float("nan")
    with pytest.raises(DataError, match="NaN"):
        labelled_logits(model, source, progress=False)
    with pytest.raises(DataError, match="no images"):
        labelled_logits(
            model, dataclasses.replace(source, images=source.images[:0], labels=source.labels[:0])
        )
