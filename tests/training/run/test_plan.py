"""A dry run: what it says, and what it leaves alone."""

import dataclasses
import json
from pathlib import Path

import pytest

from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError, DataError
from mobileone.model.create import create_model
from mobileone.training.config.augmentation import Augment, Phase
from mobileone.training.config.objective import Distill
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run import plan as plan_module
from mobileone.training.run.plan import _pace, plan


def test_it_says_what_fit_would_do_and_writes_the_picture_alone(config: TrainConfig, tmp_path: Path) -> None:
    phases = (Phase(until=0.5, size=16, strength=0.5),)
    config = dataclasses.replace(config, epochs=4, progressive=phases, augment=Augment(policy="auto"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    planned = plan(config, picture=tmp_path / "run" / "schedule.png")
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(after) - set(before) == {tmp_path / "run" / "schedule.png"}
    assert all(after[path] == before[path] for path in before)
    network = create_model(config.model, num_classes=2)
    assert {group.name: group.num_parameters for group in planned.groups} == {
        "decay": sum(p.numel() for p in network.parameters() if p.ndim > 1),
        "no_decay": sum(p.numel() for p in network.parameters() if p.ndim <= 1),
    }
    assert [(p.epochs, p.size, p.strength) for p in planned.phases] == [(2, 16, 0.5), (2, 32, 1.0)]
    assert (planned.steps_per_epoch, planned.step_images, planned.timed_batch) == (3, 8, 8)
    assert planned.peak_lr == pytest.approx(0.4 * 8 / 256)
    steps = [phase.step_seconds for phase in planned.phases]
    assert planned.seconds == pytest.approx(2 * 3 * (sum(steps) + 2 * planned.data_seconds))
    assert planned.is_measured
    weights = 4 * sum(p.numel() for p in network.parameters())
    assert planned.memory_bytes > 4 * weights  # with momentum, average and gradients
    assert json.dumps(planned.to_dict())


def test_frozen_parameters_are_a_group(config: TrainConfig, tmp_path: Path) -> None:
    start = save_model(create_model(config.model, num_classes=2), tmp_path / "start.safetensors")
    planned = plan(dataclasses.replace(config, init=str(start), freeze=("stem", "stages")))
    sizes = {group.name: group.num_parameters for group in planned.groups}
    assert (sizes["decay"], sizes["no_decay"]) == (2 * 16, 2)
    assert sizes["frozen"] > 1000


def test_a_batch_that_does_not_fit_is_scaled_and_said(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, batch_size=24)
    whole = plan(config)
    room = int(whole.memory_bytes * 0.6)
    monkeypatch.setattr(plan_module, "available_bytes", lambda device: room)
    part = plan(config)
    assert (whole.is_measured, part.is_measured) == (True, False)
    assert 6 <= part.timed_batch < 24 == whole.timed_batch
    assert part.memory_bytes == pytest.approx(whole.memory_bytes, rel=0.25)


def test_it_refuses_what_fit_refuses(config: TrainConfig, tmp_path: Path) -> None:
    teacher = save_model(create_model(config.model, num_classes=5), tmp_path / "teacher.safetensors")
    with pytest.raises(ConfigError, match="gives 5 logits, the data has 2 classes"):
        plan(dataclasses.replace(config, distill=Distill(teacher=str(teacher))))
    with pytest.raises(DataError):
        plan(dataclasses.replace(config, data=str(tmp_path / "nowhere")))


def test_parts_of_a_batch_need_less_memory(config: TrainConfig) -> None:
    config = dataclasses.replace(config, batch_size=24)
    whole, parts = (plan(config.with_values({"compute.accumulate": n})).memory_bytes for n in (1, 4))
    assert parts < 0.6 * whole


def test_the_first_batch_with_the_start_of_the_workers_does_not_count() -> None:
    assert _pace(0.0, [5.0, 5.5, 6.0]) == 0.5
    assert _pace(0.0, [5.0]) == 5.0
