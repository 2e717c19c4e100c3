"""Epochs and image size that end in time."""

from dataclasses import replace
from pathlib import Path

import pytest

from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError
from mobileone.model.create import create_model
from mobileone.training.config.augmentation import Phase
from mobileone.training.config.objective import Distill
from mobileone.training.config.probe import Probe
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.budget import MARGIN, Pace, chosen, measured, parse_budget, within_budget

PACE = Pace(step_seconds=1.0, image_seconds=0.01, steps_per_epoch=50, num_train=3200, num_val=400)
CONFIG = TrainConfig(epochs=30)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), (" 2 m ", 120.0)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "0s", "-1m", "1d", "ten minutes", ""])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be a time such as 90s, 10m or"):
        parse_budget(text)


def test_as_many_epochs_as_fit() -> None:
    # 4 s for the report, and 54 s an epoch.
    adapted = chosen(CONFIG, 600.0, PACE, 20.0)
    assert adapted.config.epochs == int((MARGIN * 600 - 20 - 4) / 54) == 9
    assert adapted.config.input_spec.size == 224
    assert adapted.reasons == ("budget 10 min: 9 epochs at 224 px, for a step took 1.00 s at 224 px",)


def test_a_longer_budget_takes_no_more_epochs_than_there_are() -> None:
    adapted = chosen(CONFIG, 7200.0, PACE, 20.0)
    assert adapted.config == CONFIG
    assert "so it may end earlier" in adapted.reasons[0]


def test_where_few_epochs_fit_images_get_smaller_unless_they_must_not() -> None:
    short = chosen(CONFIG, 250.0, PACE, 0.0)
    assert (short.config.input_spec.size, short.config.epochs) == (224, 5)
    assert [short.config.images_at(epoch).size for epoch in range(5)] == [160, 160, 160, 160, 224]
    assert short.reasons[0].startswith("budget 4 min: 5 epochs at 160, then 224 px, for a step took 1.00 s")
    shorter = chosen(CONFIG, 150.0, PACE, 0.0)
    assert (shorter.config.input_spec.size, shorter.config.epochs) == (160, 6)
    assert shorter.config.images_at(0).size == 128
    shortest = chosen(CONFIG, 60.0, PACE, 0.0)
    assert (shortest.config.input_spec.size, shortest.config.epochs) == (112, 5)
    kept = chosen(CONFIG, 150.0, PACE, 0.0, keep={"input_spec.size"})
    assert (kept.config.input_spec.size, kept.config.epochs) == (224, 3)
    least = chosen(CONFIG, 25.0, PACE, 0.0)
    assert (least.config.input_spec.size, least.config.epochs, least.config.progressive) == (112, 1, ())
    plain = chosen(CONFIG, 200.0, PACE, 0.0, keep={"progressive"})
    assert (plain.config.input_spec.size, plain.config.epochs, plain.config.progressive) == (160, 6, ())


def test_a_recipe_of_several_sizes_keeps_its_phases_and_their_proportion() -> None:
    phased = replace(CONFIG, progressive=(Phase(until=0.5, size=160),))
    pace = replace(PACE, step_seconds=(160 / 224) ** 2, image_seconds=0.01 * (160 / 224) ** 2)  # of its first
    assert chosen(phased, 7200.0, pace, 0.0).config == phased
    long = chosen(phased, 500.0, pace, 0.0).config
    assert (long.progressive, long.input_spec.size) == (phased.progressive, 224)
    # Half the epochs cost (160 / 224)² of a whole one.
    assert long.epochs == 10 < int(500 / 54) * 1.4
    short = chosen(phased, 100.0, pace, 0.0).config
    assert (short.input_spec.size, short.progressive[0].size) == (112, 80)


def test_training_images_somewhat_smaller_throughout_are_no_phase_of_a_recipe() -> None:
    fused = replace(CONFIG, progressive=(Phase(until=1.0, size=208),))  # as `adapt` leaves a finetune
    pace = replace(PACE, step_seconds=(208 / 224) ** 2, image_seconds=0.01 * (208 / 224) ** 2)
    assert chosen(fused, 7200.0, pace, 0.0).config == fused
    short = chosen(fused, 250.0, pace, 0.0).config
    sizes = [short.images_at(epoch).size for epoch in range(6)]
    assert (short.epochs, short.input_spec.size, sizes) == (6, 224, [160] * 4 + [208] * 2)
    shorter = chosen(fused, 150.0, pace, 0.0).config
    sizes = [shorter.images_at(epoch).size for epoch in (0, shorter.epochs - 1)]
    assert (shorter.input_spec.size, sizes) == (192, [128, 176])
    asked = chosen(fused, 150.0, pace, 0.0, keep={"progressive", "input_spec.size"}).config
    assert asked.progressive == fused.progressive


def test_time_that_is_planned_is_that_of_every_epoch_and_evaluation() -> None:
    config = replace(CONFIG, epochs=4, eval_every=2, progressive=(Phase(until=0.5, size=112),))
    # Two epochs of 50 s and two of a quarter; two evaluations and the report, 4 s each.
    assert PACE.run_seconds(config, measured_at=224) == pytest.approx(2 * 50 + 2 * 12.5 + 3 * 4)


def test_a_probe_first_takes_its_time_and_the_warm_up_fits() -> None:
    config = CONFIG.with_values(
        {"init": "x", "optim.warmup_epochs": 3, "probe": Probe(views="plain", then_train=True)}
    )
    adapted = chosen(config, 200.0, PACE, 0.0, keep={"input_spec.size", "progressive"})
    assert adapted.config.epochs == int((MARGIN * 200 - 36) / 54) == 2
    assert adapted.config.optim.warmup_epochs == 0.4


def test_what_is_too_short_says_what_it_takes() -> None:
    with pytest.raises(ConfigError, match="a budget of 10 s is too short for an epoch of 3200 images"):
        chosen(CONFIG, 10.0, PACE, 0.0)


def test_a_pace_is_that_of_real_steps(config: TrainConfig) -> None:
    pace = measured(config)
    assert (pace.steps_per_epoch, pace.num_train, pace.num_val) == (3, 24, 8)
    assert 0 < pace.step_seconds < 60
    assert 0 < pace.image_seconds < 60
    adapted = within_budget(config, 3600.0)
    assert (adapted.config.epochs, adapted.config.input_spec) == (config.epochs, config.input_spec)


def test_a_teacher_that_looks_once_takes_its_time(config: TrainConfig, tmp_path: Path) -> None:
    assert config.model is not None
    path = save_model(create_model(config.model, num_classes=1000), tmp_path / "teacher.safetensors")
    taught = replace(config, distill=Distill(teacher=str(path), views="plain", size=32))
    for name in ("dark", "light"):  # classes of ImageNet
        wnid = {"dark": "n01440764", "light": "n01443537"}[name]
        for split in ("train", "val"):
            (Path(config.data) / split / name).rename(Path(config.data) / split / wnid)
    assert measured(config).teacher_seconds == 0
    pace = measured(taught)
    assert 0 < pace.teacher_seconds < 60
    assert measured(taught.with_values({"distill.views": "same", "distill.size": None})).teacher_seconds == 0
    with_teacher = replace(PACE, teacher_seconds=100.0)
    assert with_teacher.run_seconds(CONFIG, measured_at=64) == PACE.run_seconds(CONFIG, measured_at=64) + 100


def test_what_a_budget_cannot_choose_is_refused(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = replace(config.with_values({"init": "x"}), epochs=1, augment=CONFIG.augment, optim=CONFIG.optim)
    with pytest.raises(ConfigError, match="a probe has no epochs"):
        within_budget(replace(probe, probe=Probe(views="plain")), 60.0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="measured on one process"):
        within_budget(config, 60.0)
