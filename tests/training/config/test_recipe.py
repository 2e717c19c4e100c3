"""The named recipes against their sources."""

import subprocess
import sys
from dataclasses import replace

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.recipe import RECIPES, recipe
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.schedule import scaled_lr
from mobileone.variants import Variant, get_variant


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_and_goes_through_its_dict(name: str) -> None:
    config = recipe(name)
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("size", range(5))
def test_the_paper_trains_at_a_tenth_with_256_images_on_8_ranks(size: int) -> None:
    config = recipe(f"paper_s{size}")
    assert config.model == f"mobileone_s{size}"
    assert config.batch_size * 8 == 256
    assert scaled_lr(config.optim.base_lr, step_images=8 * config.batch_size) == pytest.approx(0.1)
    assert (
        config.epochs,
        config.optim.momentum,
        config.objective.label_smoothing,
        config.optim.ema_decay,
    ) == (
        300,
        0.9,
        0.1,
        0.9995,
    )
    assert (config.optim.weight_decay, config.optim.weight_decay_end) == (1e-4, 1e-5)
    assert config.input_spec.resize_size == 256
    phases = [config.images_at(epoch) for epoch in (0, 36, 37, 111, 112, 299)]
    sizes, strengths = [p.size for p in phases], [p.strength for p in phases]
    if size < 2:
        assert sizes == [224] * 6
        assert strengths == [1.0] * 6
    else:
        assert sizes == [160, 160, 192, 192, 224, 224]
        assert strengths == [0.3, 0.3, 0.7, 0.7, 1.0, 1.0]


def test_the_reference_trains_s0_with_256_images_a_rank_and_two_filters() -> None:
    config = recipe("reference")
    assert (config.model, config.batch_size, config.optim.min_lr) == ("mobileone_s0", 256, 1e-4)
    assert set(config.augment.interpolation) == {"bilinear", "bicubic"}
    assert (config.augment.policy, config.progressive, config.compute.sync_bn) == ("none", (), True)


def test_digits_are_not_mirrored() -> None:
    config = recipe("digits")
    assert (config.data, config.model, config.augment.flip) == ("digits", "mobileone_s0", 0.0)


def test_a_linear_probe_fits_once_and_sees_whole_photos() -> None:
    config = recipe("linear_probe")
    assert (config.epochs, config.probe.views, config.input_spec.crop) == (1, "plain", 1.0)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown recipe 'paper_s'; did you mean paper_s"):
        recipe("paper_s")


def test_recipes_are_read_without_torch() -> None:
    code = "import sys, mobileone.training.config.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_leaves_the_number_of_workers_to_the_machine(name: str) -> None:
    assert recipe(name).loading.num_workers == (0 if name == "digits" else None)


def test_imagenette_trains_one_branch_a_unit_and_is_s0_when_fused() -> None:
    config = recipe("imagenette")
    variant = config.model
    assert isinstance(variant, Variant)
    assert variant.num_conv_branches == 1
    assert replace(variant, name="mobileone_s0", num_conv_branches=4) == get_variant("mobileone_s0")
    sizes = [config.images_at(epoch).size for epoch in (0, 5, 6, 11, 12, 19)]
    assert sizes == [96, 96, 112, 112, 128, 128]
    assert config.input_spec.size == 128
