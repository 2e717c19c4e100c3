"""Weights keep the licence of those they were made from."""

import pytest
import torch

from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import PublishError
from mobileone.publishing.push import push


def test_apples_weights_keep_apples_licence_through_conversion_and_training(
    begun_with_apple, converted, tmp_path
):
    save_model(
        load_model(begun_with_apple),
        tmp_path / "copied.safetensors",
        extra={"published": "mobileone_s0.apple"},
    )
    for index, source in enumerate((begun_with_apple, converted, tmp_path / "copied.safetensors")):
        done = push(source, "hf:me/pets", dry_run=tmp_path / f"out{index}")
        assert done.license == "mobileone-license"
        assert "Apple Inc." in (done.folder / "LICENSE").read_text()
        with pytest.raises(PublishError, match=r"whose licence they keep .*got license='mit'; leave it out"):
            push(source, "hf:me/pets", license="mit", dry_run=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_conversion_keeps_the_origin(converted, tmp_path):
    convert(converted, tmp_path / "other.pth", to="mmpretrain")
    done = push(tmp_path / "other.pth", "hf:me/pets", dry_run=tmp_path / "out")
    assert done.license == "mobileone-license"


def test_tensors_with_apples_names_are_apples_unless_their_owner_says_otherwise(
    converted, classifier, tmp_path
):
    plain = save_model(classifier, tmp_path / "plain.safetensors")
    convert(plain, tmp_path / "theirs.pth", to="apple")
    assert push(tmp_path / "theirs.pth", "hf:me/x", dry_run=tmp_path / "a").license == "mobileone-license"
    done = push(tmp_path / "theirs.pth", "hf:me/x", license="mit", dry_run=tmp_path / "b")
    assert done.license == "mit"
    assert not (done.folder / "LICENSE").exists()
    assert push(done.folder, "hf:me/x", license="mit", dry_run=tmp_path / "c").license == "mit"


def test_what_was_loaded_and_saved_by_hand_keeps_its_licence(converted, tmp_path):
    loaded = load_model(converted)
    torch.save(loaded, tmp_path / "whole.pt")
    for source in (save_model(loaded, tmp_path / "saved.safetensors"), tmp_path / "whole.pt"):
        with pytest.raises(PublishError, match=r"began with mobileone_s0\.apple, whose licence they keep"):
            push(source, "hf:me/x", license="mit", dry_run=tmp_path / "never")
        done = push(source, "hf:me/x", dry_run=tmp_path / source.stem)
        assert done.license == "mobileone-license"
        card = (done.folder / "README.md").read_text()
        assert "which it began with" in card
        assert "71.4" not in card  # the figure of Apple's own, which these may no longer reach


def test_a_file_that_states_a_licence_keeps_it(classifier, tmp_path):
    classifier.licence = "apple"
    source = save_model(classifier, tmp_path / "a.safetensors")
    with pytest.raises(PublishError, match=r"says that they keep .*, got license='mit'"):
        push(source, "hf:me/x", license="mit", dry_run=tmp_path / "never")
    assert push(source, "hf:me/x", dry_run=tmp_path / "out").license == "mobileone-license"


def test_mmpretrains_are_apache(classifier, tmp_path):
    source = save_model(
        classifier, tmp_path / "a.safetensors", extra={"published": "mobileone_s0.mmpretrain"}
    )
    done = push(source, "hf:me/x", dry_run=tmp_path / "out")
    assert done.license == "apache-2.0"
    assert "Apache License" in (done.folder / "LICENSE").read_text()
