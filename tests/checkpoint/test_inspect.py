"""What a model is, said without its weights and from one look at its file."""

import json

import pytest

from mobileone.checkpoint import inspect as inspect_module
from mobileone.checkpoint.config import ModelConfig
from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.inspect import agreed, describe, inspect
from mobileone.checkpoint.load import load_model, load_with_card
from mobileone.checkpoint.recognition import expected_shapes, infer
from mobileone.checkpoint.store import save_model
from mobileone.errors import CheckpointError
from mobileone.input_spec import InputSpec
from mobileone.variants import VARIANTS


@pytest.mark.parametrize("name", VARIANTS)
def test_fresh_weights_are_in_train_form_and_from_no_file(name):
    card = describe(name)
    assert (card.path, card.container, card.form, card.size_bytes) == (None, "none", "train", 0)
    assert (card.variant, card.num_classes, card.in_chans) == (VARIANTS[name], 1000, 3)
    assert card.input_spec == InputSpec()
    assert inspect(name).contents is None


def test_a_card_is_what_the_loaded_model_is(tmp_path, model):
    path = save_model(model, tmp_path / "m.pt", extra={"epoch": 3})
    loaded, card = load_with_card(path, form="inference")
    assert loaded.form == "inference"
    assert card == describe(path)
    assert card.form == "train", "of the file, not of what was made from it"
    assert (card.variant, card.class_names) == (loaded.variant, loaded.class_names)
    assert card.num_parameters == sum(p.numel() for p in model.parameters())
    assert (card.path, card.size_bytes, card.metadata) == (str(path), path.stat().st_size, {"epoch": 3})
    assert json.loads(json.dumps(card.to_dict()))["variant"]["name"] == "tiny"


def test_a_file_is_opened_once(tmp_path, model, monkeypatch):
    opened = []
    real = inspect_module.open_contents
    monkeypatch.setattr(inspect_module, "open_contents", lambda path: opened.append(path) or real(path))
    path = save_model(model, tmp_path / "m.pt")
    for work in (
        load_model,
        describe,
        load_with_card,
        lambda source: convert(source, tmp_path / "c.pt", to="timm"),
    ):
        opened.clear()
        work(path)
        assert opened == [path]


def test_our_own_config_must_agree_and_a_foreign_hint_is_dropped(tiny):
    found = infer(expected_shapes(tiny, form="inference", num_classes=5))
    hints = ModelConfig(class_names=("a",), input_spec=InputSpec.for_channels(1))
    config = agreed(hints, found, source="x.pt")
    assert config.class_names is None
    assert config.input_spec == InputSpec.for_channels(3)
    assert (config.variant, config.form, config.num_classes) == (found.variant, "inference", 5)
    for own, message in (
        (ModelConfig(variant=tiny, class_names=("a",)), "1 class names for 5 classes"),
        (ModelConfig(variant=tiny, input_spec=InputSpec.for_channels(1)), "1 channels, its stem 3"),
    ):
        with pytest.raises(CheckpointError, match=message):
            agreed(own, found, source="x.pt")
