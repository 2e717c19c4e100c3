"""The table of published weights."""

import pytest
import torch

from mobileone.checkpoint import resolve as source_module
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.layouts import LAYOUTS
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.published import PUBLISHED, licence_of, licence_text, list_weights
from mobileone.errors import CheckpointError
from mobileone.variants import VARIANTS


def test_published_weights_bring_their_input_spec(tmp_path, fused, monkeypatch):
    assert len(PUBLISHED) == 25
    path = tmp_path / "pytorch_model.bin"
    torch.save(fused.state_dict(), path)
    monkeypatch.setattr(source_module, "hub_files", lambda repo, revision: (path, None))
    with pytest.raises(CheckpointError, match="published as mobileone_s2"):
        load_model("mobileone_s2.apple_in1k")
    assert load_model("hf-hub:someone/tiny@v1").num_classes == 5
    state = load_model("mobileone_s2", form="inference").state_dict()
    torch.save(state, path)
    assert describe("mobileone_s2.apple_in1k").input_spec.crop == 0.9


def test_names_tell_variant_and_form():
    for name, entry in PUBLISHED.items():
        assert entry.name == name
        assert entry.variant == name.partition(".")[0]
        assert entry.variant in VARIANTS
        assert entry.layout in LAYOUTS
        assert 70 < entry.top1 < 80
        assert entry.top5 is None or entry.top1 < entry.top5 < 100
        assert entry.licence
        assert entry.accuracy_source
    assert {entry.form for name, entry in PUBLISHED.items() if name.endswith(".apple")} == {"inference"}


def test_hashes_stand_where_the_publisher_puts_them_into_the_name():
    for entry in PUBLISHED.values():
        assert bool(entry.sha256_prefix) == (entry.layout == "mmpretrain")
        assert entry.sha256_prefix in entry.source


def test_patterns():
    assert list_weights() == list(PUBLISHED)
    assert list_weights("*.timm") == []
    assert len(list_weights("mobileone_s4.*")) == 5


@pytest.mark.parametrize(
    ("source", "layout", "metadata", "wanted"),
    [
        ("s0.pth.tar", "apple", {}, "apple"),
        ("s0.pth", "timm", {}, None),
        ("s0.pth", "timm", {"licence": "apple"}, "apple"),
        ("s0.pth", "timm", {"licence": "of my own"}, None),
        ("s0.pth", "timm", {"licence": ["apple"]}, None),
        ("best.safetensors", "timm", {"published": "mobileone_s1.apple_in1k"}, "apple"),
        ("best.safetensors", "timm", {"published": ["no", "name"]}, None),
        ("mobileone_s1.reference", "reference", {}, "apple"),
        ("mobileone_s1.mmpretrain", "mmpretrain", {}, "apache-2.0"),
        ("hf:timm/mobileone_s0.apple_in1k@main", "timm", {}, "apple"),
        ("hf:me/pets", "timm", {}, None),
    ],
)
def test_weights_are_under_the_licence_of_those_they_began_with(source, layout, metadata, wanted):
    assert licence_of(source, layout, metadata) == wanted


def test_every_licence_has_its_wording():
    assert "Apple Inc." in licence_text("apple")
