"""Training configurations: validation, settings as text, and the way through JSON."""

import dataclasses
import json
from collections.abc import Callable

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.options import Augment, Distill, Mix, Phase
from mobileone.training.config.train_config import TrainConfig, override
from mobileone.variants import VARIANTS, Variant


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("base_lr", 0.0),
        ("base_lr", float("nan")),
        ("min_lr", -1.0),
        ("warmup_epochs", 301.0),
        ("momentum", 1.0),
        ("weight_decay", float("inf")),
        ("label_smoothing", 1.0),
        ("ema_decay", 1.0),
        ("input_size", 0),
        ("crop_scale", (0.5, 0.2)),
        ("crop_scale", (0.0, 1.0)),
        ("crop_ratio", (0.0, 1.0)),
        ("flip", 1.5),
        ("loss", "mse"),
        ("class_weights", (-1.0, 1.0)),
        ("class_weights", (0.0, 0.0)),
        ("class_weights", "equal"),
        ("clip_norm", -1.0),
        ("accumulate", 0),
        ("accumulate", 129),
        ("freeze", ("stem",)),
        ("warmup_epochs", -1.0),
        ("interpolation", ()),
        ("interpolation", ("nearest",)),
        ("eval_interpolation", "nearest"),
        ("eval_crop", 0.0),
        ("mean", (0.5,)),
        ("std", (0.2, 0.2, 0.0)),
        ("eval_every", 0),
        ("amp", "fp8"),
        ("num_workers", -1),
        ("on_bad_image", "ignore"),
        ("weights_suffix", ".bin"),
        ("model", "mobileone_s9"),
        ("model", None),
        ("progressive", (Phase(until=0.5, size=300),)),
        ("progressive", (Phase(until=0.5, size=160), Phase(until=0.4, size=192))),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(TrainConfig(), **{field: value})


def test_the_message_names_field_wanted_and_got() -> None:
    with pytest.raises(ConfigError, match=r"momentum must be in \[0, 1\), got 1\.5"):
        TrainConfig(momentum=1.5)


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


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs=10", 10),
        (" epochs = 10 ", 10),
        ("base_lr=1e-2", 0.01),
        ("base_lr=1", 1.0),
        ("base_lr=.5", 0.5),
        ("channels_last=False", False),
        ("channels_last=true", True),
        ("data=./my=folder", "./my=folder"),
        ("data=7", "7"),
        ("model=mobileone_s1", "mobileone_s1"),
        ("init=runs/a", "runs/a"),
        ("init=none", None),
        ("crop_scale=0.2,1", (0.2, 1.0)),
        ("crop_scale=[0.2, 1]", (0.2, 1.0)),
        ("interpolation=bicubic", ("bicubic",)),
        ("interpolation=bilinear, bicubic", ("bilinear", "bicubic")),
        ("progressive=", ()),
        (
            "progressive=[[0.1, 160], [0.4, 192, 0.7]]",
            (Phase(until=0.1, size=160), Phase(until=0.4, size=192, strength=0.7)),
        ),
        ('progressive=[{"until": 0.1, "size": 160}]', (Phase(until=0.1, size=160),)),
        ('model={"name": "mine", "widths": [8, 8, 8, 8]}', Variant("mine", (8, 8, 8, 8))),
        ("amp=bf16", "bf16"),
    ],
)
def test_settings_are_typed(setting: str, value: object) -> None:
    config = override(TrainConfig(), [setting])
    got = getattr(config, setting.partition("=")[0].strip())
    assert got == value
    assert type(got) is type(value)
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "field=value, got 'epochs'"),
        ("epoch=3", "unknown training field 'epoch'; did you mean epochs?"),
        ("zzz=3", r"unknown training field 'zzz' \(known: model, init"),
        ("epochs=ten", "epochs must be a whole number, got 'ten'"),
        ("epochs=2.5", "epochs must be a whole number, got 2.5"),
        ("epochs=true", "epochs must be a whole number, got True"),
        ("epochs=0", "epochs must be at least 1, got 0"),
        ("base_lr=nan", "base_lr must be above 0, got nan"),
        ("sync_bn=1", "sync_bn must be true or false, got 1"),
        ("amp=bf15", "amp must be one of auto, off, bf16, fp16, got 'bf15'"),
        ("mix.mixupp=0.2", r"unknown training field 'mix\.mixupp'; did you mean mix\.mixup\?"),
        ("mixup=0.2", r"unknown training field 'mixup'; did you mean mix\.mixup\?"),
        ("mix.mixup=much", r"mix\.mixup must be a number, got 'much'"),
        ("augment.policy=cutout", r"augment\.policy must be one of none, auto, rand, trivial, got 'cutout'"),
        ("distill.temperature=-1", r"distill\.temperature must be above 0, got -1"),
        ("class_weights=7", "class_weights must be none or balanced or a list, each item a number, got 7"),
        ('mix={"mixupp": 1}', r"mix must be an object with mixup, .* \(unknown: mixupp\)"),
        ("crop_scale=0.5", "crop_scale must be 2 values, each a number"),
        ("progressive=[160]", "progressive must be an object with until, size, strength"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(TrainConfig(), [setting])


def test_settings_that_need_each_other_are_checked_together() -> None:
    config = override(TrainConfig(), ["epochs=2", "warmup_epochs=1"])
    assert (config.epochs, config.warmup_epochs) == (2, 1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Phase(until=1.0, size=160),
        lambda: Phase(until=0.5, size=0),
        lambda: Phase(until=0.5, size=160, strength=2.0),
        lambda: Augment(policy="cutout"),  # type: ignore[arg-type]
        lambda: Augment(strength=0.0),
        lambda: Augment(num_operations=0),
        lambda: Augment(magnitude=31.0),
        lambda: Augment(erasing=1.5),
        lambda: Mix(mixup=-0.1),
        lambda: Mix(cutmix=float("nan")),
        lambda: Mix(probability=0.0),
        lambda: Distill(weight=0.0),
        lambda: Distill(temperature=0.0),
    ],
)
def test_groups_refuse_values_out_of_range(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        make()


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
    assert (config.class_weights, config.freeze) == ((1.0, 2.0), ("stem", "stages.0"))
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert override(config, ["class_weights=balanced"]).class_weights == "balanced"
    assert override(config, ["class_weights=none", "augment.policy=none"]).augment.magnitude == 7.0


def test_every_field_is_described() -> None:
    for kind in (TrainConfig, Phase, Augment, Mix, Distill):
        for field in dataclasses.fields(kind):
            assert f"\n        {field.name}: " in (kind.__doc__ or "") or f"\n    {field.name}: " in (
                kind.__doc__ or ""
            ), f"{kind.__name__}.{field.name}"
