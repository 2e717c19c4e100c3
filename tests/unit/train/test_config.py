"""Training configurations: validation, settings as text, and the way through JSON."""

import dataclasses
import json

import pytest

from mobileone.errors import ConfigError
from mobileone.train.config import Phase, TrainConfig, override
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
        ("auto_augment", -0.1),
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
        ("progressive", (Phase(until=1.0, size=160),)),
        ("progressive", (Phase(until=0.5, size=160, auto_augment=2.0),)),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(TrainConfig(), **{field: value})


def test_the_message_names_field_wanted_and_got() -> None:
    with pytest.raises(ConfigError, match=r"momentum must be in \[0, 1\), got 1\.5"):
        TrainConfig(momentum=1.5)


def test_a_variant_of_ones_own_goes_through_json(tiny: Variant) -> None:
    config = TrainConfig(model=tiny, progressive=(Phase(until=0.5, size=160, auto_augment=0.3),))
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
            (Phase(until=0.1, size=160), Phase(until=0.4, size=192, auto_augment=0.7)),
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
        ("crop_scale=0.5", "crop_scale must be 2 values, each a number"),
        ("progressive=[160]", "progressive must be an object with until, size, auto_augment"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(TrainConfig(), [setting])


def test_settings_that_need_each_other_are_checked_together() -> None:
    config = override(TrainConfig(), ["epochs=2", "warmup_epochs=1"])
    assert (config.epochs, config.warmup_epochs) == (2, 1.0)
