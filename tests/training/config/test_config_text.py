"""Settings as text: their types, their short names, and what is said of those that make no sense."""

from operator import attrgetter

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.augmentation import Phase
from mobileone.training.config.config_text import flattened, replaced
from mobileone.training.config.short_names import SHORT_NAMES
from mobileone.training.config.train_config import TrainConfig, override
from mobileone.variants import Variant


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
    name = setting.partition("=")[0].strip()
    got = attrgetter(SHORT_NAMES.get(name, name))(config)
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


def test_a_group_and_a_field_in_it_are_set_in_one_go() -> None:
    config = override(TrainConfig(), ['mix={"mixup": 0.2}', "mix.cutmix=1"])
    assert (config.mix.mixup, config.mix.cutmix) == (0.2, 1.0)
    assert replaced(config, {"mix.mixup": 0.0, "epochs": 4}).mix.cutmix == 1.0


def test_an_unknown_field_is_refused_by_its_nearest_whatever_the_way() -> None:
    with pytest.raises(ConfigError, match=r"unknown training field 'optim\.lr'"):
        replaced(TrainConfig(), {"optim.lr": 0.1})


def test_flattened_values_are_those_of_the_groups_by_full_name() -> None:
    config = TrainConfig(model=Variant("mine", (8, 8, 8, 8)))
    flat = flattened(config, config.to_dict())
    assert flat["optim.momentum"] == 0.9
    assert flat["model"]["name"] == "mine"  # a value of its own, no group
    assert "optim" not in flat
