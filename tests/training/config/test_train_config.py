"""Training configurations: validation, settings as text, and the way through JSON."""

import dataclasses
import json

import pytest

from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.training.config.augmentation import Augment, Phase
from mobileone.training.config.objective import Distill, Mix, Objective
from mobileone.training.config.optimization import Optim
from mobileone.training.config.resources import Compute, Loading, Saving
from mobileone.training.config.train_config import TrainConfig, override
from mobileone.variants import VARIANTS, Variant


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("eval_every", 0),
        ("max_skipped_steps", -1),
        ("warmup_epochs", 301.0),
        ("accumulate", 129),
        ("freeze", ("stem",)),
        ("mean", (0.5,)),
        ("input_size", 0),
        ("eval_crop", 0.0),
        ("eval_interpolation", "nearest"),
        ("model", "mobileone_s9"),
        ("model", None),
        ("progressive", (Phase(until=0.5, size=300),)),
        ("progressive", (Phase(until=0.5, size=160), Phase(until=0.4, size=192))),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError):
        TrainConfig().with_values({field: value})


def test_the_message_names_field_wanted_and_got() -> None:
    with pytest.raises(ConfigError, match=r"momentum must be in \[0, 1\), got 1\.5"):
        TrainConfig().with_values({"optim.momentum": 1.5})


def test_a_variant_of_ones_own_goes_through_json(tiny: Variant) -> None:
    config = TrainConfig(model=tiny, progressive=(Phase(until=0.5, size=160, strength=0.3),))
    values = json.loads(json.dumps(config.to_dict()))
    assert values["model"]["widths"] == [8, 8, 16, 16]
    assert TrainConfig.from_dict(values) == config


def test_a_published_variant_is_stored_by_its_name() -> None:
    assert TrainConfig(model=VARIANTS["mobileone_s2"]).to_dict()["model"] == "mobileone_s2"
    disguised = dataclasses.replace(VARIANTS["mobileone_s2"], num_conv_branches=2)
    assert TrainConfig(model=disguised).to_dict()["model"]["num_conv_branches"] == 2


def test_an_unknown_field_of_a_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown training field 'epoch'; did you mean epochs"):
        TrainConfig.from_dict({"epoch": 3})


def test_settings_that_need_each_other_are_checked_together() -> None:
    config = override(TrainConfig(), ["epochs=2", "warmup_epochs=1"])
    assert (config.epochs, config.optim.warmup_epochs) == (2, 1.0)


def test_a_phase_that_ends_before_it_begins_is_refused() -> None:
    phases = (Phase(until=37 / 300, size=160), Phase(until=112 / 300, size=192))
    TrainConfig(epochs=5, progressive=phases)
    with pytest.raises(ConfigError, match=r"with epochs=4 a phase .* until 0\.123 would be epochs 1 to 0"):
        TrainConfig(epochs=4, progressive=phases)
    with pytest.raises(ConfigError, match="or leave none after it"):
        TrainConfig(epochs=2, progressive=(Phase(until=0.9, size=160),))


def test_groups_are_set_field_by_field_and_go_through_json() -> None:
    config = override(
        TrainConfig(init="a"),
        [
            "augment.policy=rand",
            "augment.magnitude=7",
            "mix.mixup=.2",
            "distill.teacher=mobileone_s4.apple_in1k",
            "class_weights=1,2",
            "freeze=stem,stages.0",
        ],
    )
    assert config.augment == Augment(policy="rand", magnitude=7.0)
    assert (config.mix.mixup, config.mix.cutmix) == (0.2, 0.0)
    assert config.distill.teacher == "mobileone_s4.apple_in1k"
    assert (config.objective.class_weights, config.freeze) == ((1.0, 2.0), ("stem", "stages.0"))
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert override(config, ["class_weights=balanced"]).objective.class_weights == "balanced"
    assert override(config, ["class_weights=none", "augment.policy=none"]).augment.magnitude == 7.0


def test_every_field_is_described() -> None:
    for kind in (TrainConfig, Phase, Augment, Mix, Objective, Distill, Optim, Compute, Loading, Saving):
        for field in dataclasses.fields(kind):
            assert f"\n        {field.name}: " in (kind.__doc__ or "") or f"\n    {field.name}: " in (
                kind.__doc__ or ""
            ), f"{kind.__name__}.{field.name}"


def test_rectangles_are_typed_or_listed() -> None:
    for setting in ("input_size=256x192", "input_spec.size=256,192", "input_size=[256,192]"):
        config = override(TrainConfig(), [setting])
        assert config.input_spec.size == (256, 192)
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert override(TrainConfig(), ["input_size=96x96"]).input_spec.size == 96
    with pytest.raises(ConfigError, match=r"input_spec\.size"):
        override(TrainConfig(), ["input_size=256y192"])


def test_phases_are_no_larger_than_the_input_on_either_side() -> None:
    config = TrainConfig(epochs=2, input_spec=InputSpec(size=(128, 96)))
    phased = config.with_values({"progressive": (Phase(until=0.5, size=(64, 48)),)})
    assert [phased.images_at(epoch).size for epoch in (0, 1)] == [(64, 48), (128, 96)]
    with pytest.raises(ConfigError, match=r"sizes up to input_spec\.size=128x96"):
        config.with_values({"progressive": (Phase(until=0.5, size=112),)})


@pytest.mark.parametrize("field", ["data", "val_data", "init"])
def test_names_that_no_config_json_can_hold_are_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{field} must be a name in UTF-8, got caf\\xe9; rename it$"):
        TrainConfig().with_values({field: "caf\udce9"})


def test_a_task_decides_loss_and_best_epoch_unless_they_are_named() -> None:
    single, several = TrainConfig(), TrainConfig(task="multilabel")
    assert (single.loss, single.select) == ("cross_entropy", "acc1")
    assert (several.loss, several.select) == ("bce", "map")
    named = override(several, ["loss=asymmetric", "select=f1/red hat", "gamma_negative=2"])
    assert (named.loss, named.select, named.objective.gamma_negative) == ("asymmetric", "f1/red hat", 2.0)
    assert TrainConfig.from_dict(named.to_dict()) == named


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (["seed=36893488147419103232"], r"seed must be below 2\*\*63, got 36893488147419103232"),
        (["task=both"], "task must be one of singlelabel, multilabel"),
        (["task=multilabel", "loss=cross_entropy"], "lets one class exclude the others"),
        (["select=map"], "saving.select must be auto or, with task=singlelabel, one of acc1, acc5, macro_f1"),
        (
            ["task=multilabel", "select=recall/cat"],
            "loss, ap/CLASS, f1/CLASS, got 'recall/cat'",
        ),
        (["sampling=even"], "loading.sampling must be"),
        (["loading.effective_beta=1"], r"effective_beta must be in \[0, 1\)"),
        (["gamma_negative=0.5"], "gamma_negative must be 0, or 1 and more"),
        (["margin=1"], r"margin must be in \[0, 1\)"),
        (["distill.features=1", "compute.compile=true"], "compute.compile must be off with distill.features"),
        (["distill.views=none"], "distill.views must be one of same, plain, mirrored"),
        (["distill.size=128"], "distill.size must be none with distill.views=same"),
        (["distill.size=0", "distill.views=plain"], "input size must be in 1"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: list[str], wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        override(TrainConfig(), settings)
