"""A decision is kept where the model is, whole or not at all."""

import shutil

import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.backends.manifest import manifest_path, read_manifest
from mobileone.calibration.store_decision import check_target, store_decision
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.decision import Decision
from mobileone.errors import ArtifactError, ConfigError
from mobileone.exporting.export import export
from mobileone.quantization.quantize import quantize
from mobileone.reparam.expand import expand

DECISION = Decision(temperatures=(1.5,), thresholds=(0.75,), evidence={"num_images": 341})


@pytest.mark.parametrize("name", ["best.safetensors", "model.pt", "folder"])
@pytest.mark.parametrize("form", ["train", "inference"])
def test_a_checkpoint_keeps_everything_else(network, tmp_path, name, form):
    saved = save_model(
        network if form == "inference" else expand(network), tmp_path / name, extra={"epoch": 3}
    )
    before = load_model(saved, dtype=None)
    kept = store_decision(saved, DECISION)
    assert kept == saved
    after = load_model(saved, dtype=None)
    assert (after.decision, after.form, describe(saved).metadata) == (DECISION, form, {"epoch": 3})
    assert all(torch.equal(value, after.state_dict()[key]) for key, value in before.state_dict().items())
    store_decision(saved, None)
    assert load_model(saved).decision is None


def test_a_runs_best_weights_keep_it(network, tmp_path):
    for name in ("best", "last"):
        save_model(network, tmp_path / f"{name}.safetensors")
    assert store_decision(tmp_path, DECISION) == tmp_path / "best.safetensors"
    assert load_model(tmp_path).decision == DECISION
    assert load_model(tmp_path / "last.safetensors").decision is None


def test_a_file_of_others_needs_an_output(network, tmp_path):
    foreign = tmp_path / "foreign.pth"
    torch.save(network.state_dict(), foreign)
    content = foreign.read_bytes()
    for source in (foreign, "mobileone_s0", "mobileone_s0.apple_in1k"):
        with pytest.raises(ConfigError, match=r"no single file of ours .* give output"):
            store_decision(source, DECISION)
        with pytest.raises(ConfigError, match="give output"):
            check_target(source, None)
    kept = store_decision(foreign, DECISION, output=tmp_path / "own.safetensors")
    assert load_model(kept).decision == DECISION
    assert foreign.read_bytes() == content
    with pytest.raises(ConfigError, match="exists already"):
        store_decision(foreign, DECISION, output=kept)


def test_a_manifest_is_written_anew(network, tmp_path):
    path = export(network, tmp_path / "net.pt2", format="torch").path
    assert store_decision(path, DECISION) == manifest_path(path)
    assert read_manifest(path).decision == Artifact(path).decision == DECISION
    with pytest.raises(ConfigError, match="3 thresholds does not fit 7 classes"):
        store_decision(path, Decision(thresholds=(0.5,) * 3))
    assert read_manifest(path).decision == DECISION
    with pytest.raises(ConfigError, match="beside it; no output"):
        store_decision(path, DECISION, output=tmp_path / "other.pt2")
    store_decision(path, None)
    assert read_manifest(path).decision is None
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.pt2", "net.pt2.json"]


def test_c_code_is_written_anew_with_its_manifest(
    small_network, small_pictures, other_pictures, tmp_path, needs_backend, monkeypatch
):
    needs_backend("c")
    original = quantize(small_network, tmp_path / "first" / "net.c", images=small_pictures, format="c").path
    for each in (original, original.with_suffix(".h"), manifest_path(original)):
        shutil.copy(each, tmp_path / each.name)
    path = tmp_path / original.name
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MOBILEONE_TRUST_PROGRAMS", raising=False)
    with pytest.raises(ArtifactError, match="was not written by you"):  # calibrating makes nothing one's own
        store_decision(path, DECISION)
    monkeypatch.undo()
    before = Artifact(path).logits(other_pictures)
    store_decision(path, DECISION)
    artifact = Artifact(path)
    torch.testing.assert_close(artifact.logits(other_pictures), before, rtol=0, atol=0)
    network = artifact.session.network
    assert network.is_calibrated
    assert network.decide(before.numpy())[2] == DECISION.doubts(before.numpy())
    assert original.read_text() != path.read_text()
