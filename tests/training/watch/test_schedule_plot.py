"""The picture of what a run will do."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mobileone.training.config.augmentation import Augment, Phase
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.schedule import Schedule
from mobileone.training.watch import schedule_plot
from mobileone.training.watch.schedule_plot import draw_schedule

pytest.importorskip("matplotlib", reason="needs the extra train")

SCHEDULE = Schedule(
    total_steps=40, warmup_steps=4, peak_lr=0.1, min_lr=0.0, weight_decay=1e-4, weight_decay_end=1e-5
)
PHASES = (Phase(until=0.5, size=112, strength=0.5),)


def test_it_draws_every_step_s_rates_and_every_epoch_s_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(schedule_plot, "save_figure", lambda figure, path: drawn.append(figure))
    augment = Augment(policy="auto", strength=0.8)
    draw_schedule(TrainConfig(epochs=4, progressive=PHASES, augment=augment), SCHEDULE, tmp_path / "a.png")
    rate, decay, size, strength = drawn[0].axes
    assert rate.lines[0].get_ydata().tolist() == [SCHEDULE.lr(step) for step in range(40)]
    assert decay.lines[0].get_ydata().tolist() == [SCHEDULE.decay(step) for step in range(40)]
    assert size.patches[0].get_data().values.tolist() == [112, 112, 224, 224]
    assert strength.patches[0].get_data().values.tolist() == [0.4, 0.4, 0.8, 0.8]
    assert "policy auto" in strength.get_title()


def test_the_picture_is_written(tmp_path: Path) -> None:
    draw_schedule(TrainConfig(epochs=4), SCHEDULE, tmp_path / "schedule.png")
    with Image.open(tmp_path / "schedule.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10
