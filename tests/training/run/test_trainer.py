"""The parts of a run in memory."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from mobileone.checkpoint.store import save_model
from mobileone.data.folder import find_images
from mobileone.data.open import open_data
from mobileone.errors import ConfigError, TrainingError
from mobileone.model.create import create_model
from mobileone.ranks.distributed import Distributed
from mobileone.reparam.fuse import reparameterize
from mobileone.training.config.augmentation import Phase
from mobileone.training.config.objective import Distill
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run import trainer as trainer_module
from mobileone.training.run.plan import plan
from mobileone.training.run.trainer import Trainer


def train_epoch(trainer: Trainer, epoch: int) -> None:
    for index, batch in enumerate(trainer.batches(epoch)):
        trainer.take(batch, step=epoch * trainer.steps_per_epoch + index)


def test_fresh_statistics_are_the_plain_average_of_the_first_batches(config: TrainConfig) -> None:
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    norm = trainer.network.stages[0][0].identity or trainer.network.stem.conv_kxk[0].bn
    seen = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().mean((0, 2, 3))))
    train_epoch(trainer, 0)
    assert len(seen) == 3
    assert torch.allclose(norm.running_mean, torch.stack(seen).mean(0), atol=1e-6)


def test_a_run_of_another_precision_goes_on_with_a_new_gradient_scaler(config: TrainConfig) -> None:
    """A scaler that is off has an empty state, which one that is on refuses."""
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    state = trainer.state_dict()
    assert state["scaler"] == {}
    trainer.step.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    trainer.load_state_dict(state)
    trainer.load_state_dict(state | {"scaler": trainer.step.scaler.state_dict() | {"scale": 2.0}})
    assert trainer.step.scaler.get_scale() == 2.0


def test_what_is_evaluated_is_a_copy_in_inference_form() -> None:
    """Its memory layout may be changed; an optimizer's state has that of the weights it began with."""
    model = create_model("mobileone_s0", num_classes=3)
    for original in (model, reparameterize(model.eval())):
        copy = trainer_module.fused(original)
        assert copy.form == "inference"
        places = {p.data_ptr() for p in original.parameters()}
        assert places.isdisjoint(p.data_ptr() for p in copy.parameters())


def test_statistics_that_come_with_weights_are_kept(config: TrainConfig, tmp_path) -> None:
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    weights = save_model(trainer.network, tmp_path / "start.safetensors")
    config = dataclasses.replace(config, init=str(weights))
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    train_epoch(trainer, 0)
    assert trainer.network.stem.conv_kxk[0].bn.momentum == 0.1


def test_frozen_parts_stay_as_they_are_with_their_statistics(config: TrainConfig, tmp_path) -> None:
    source = find_images(config.data, split="train")
    start = save_model(Trainer(config, source, Distributed()).network, tmp_path / "start.safetensors")
    config = dataclasses.replace(config, init=str(start), freeze=("stem", "stages"))
    trainer = Trainer(config, source, Distributed())
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    train_epoch(trainer, 0)
    changed = {n for n, value in trainer.network.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"head.fc.weight", "head.fc.bias"}
    assert {group["name"]: len(group["params"]) for group in trainer.step.optimizer.param_groups} == {
        "decay": 1,
        "no_decay": 1,
    }
    averaged = trainer.averaged.state_dict()
    assert all(torch.equal(averaged[n], before[n]) for n in before if n.startswith(("stem", "stages")))
    # The twin: without freezing, statistics follow the batches even where the rate is nought.
    loose = Trainer(dataclasses.replace(config, freeze=()), source, Distributed())
    train_epoch(loose, 0)
    assert not torch.equal(
        loose.network.stem.conv_kxk[0].bn.running_mean, before["stem.conv_kxk.0.bn.running_mean"]
    )


def test_what_does_not_fit_the_data_is_refused_before_the_first_step(config: TrainConfig, tmp_path) -> None:
    source = find_images(config.data, split="train")
    weights = save_model(Trainer(config, source, Distributed()).network, tmp_path / "start.safetensors")
    three = save_model(create_model(config.model, num_classes=3), tmp_path / "three.safetensors")
    refused = {
        "the teacher .*three.safetensors gives 3 logits, the data has 2 classes": {
            "distill": Distill(teacher=str(three))
        },
        "class_weights has 3 numbers, the data 2 classes": {"class_weights": (1.0, 2.0, 3.0)},
        "no module 'stage'; did you mean stages": {"init": str(weights), "freeze": ("stage",)},
        "no trainable parameter": {"init": str(weights), "freeze": ("stem", "stages", "head")},
    }
    for message, changes in refused.items():
        with pytest.raises(ConfigError, match=message):
            Trainer(config.with_values(changes), source, Distributed())
    module = torch.nn.Flatten()
    with pytest.raises(ConfigError, match="there are two teachers"):
        Trainer(
            dataclasses.replace(config, distill=Distill(teacher="a")), source, Distributed(), teacher=module
        )


def test_a_loss_of_single_classes_starts_near_that_of_a_uniform_guess(config: TrainConfig) -> None:
    trainer = Trainer(
        config.with_values({"objective.loss": "bce"}), find_images(config.data, split="train"), Distributed()
    )
    assert trainer.network.head.fc.bias.tolist() == [0.0, 0.0]  # two classes: σ(0) = 1/2


def test_statistics_and_averages_go_on_across_a_change_of_size(config: TrainConfig) -> None:
    """BatchNorm and EMA by hand over two epochs of 24 px and two of 32, at the update rules of the docs."""
    config = config.with_values(
        {"epochs": 4, "progressive": (Phase(until=0.5, size=24),), "loading.num_workers": 1}
    )
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    norm = trainer.network.stem.conv_kxk[0].bn
    assert trainer.ema is not None
    averaged = trainer.ema.module.stem.conv_kxk[0].bn
    sides, workers = [], set()
    running, average = norm.running_mean.clone(), averaged.running_mean.clone()

    def watch(_: object, inputs: tuple[torch.Tensor]) -> None:
        nonlocal running, average
        step = len(sides)
        sides.append(inputs[0].shape[-1])
        mean = inputs[0].detach().mean((0, 2, 3))
        running = running.lerp(mean, max(0.1, 1 / (step + 1)))
        average = average.lerp(running, 1 - (1 + step) / (10 + step))

    norm.register_forward_pre_hook(watch)
    for epoch in range(4):
        train_epoch(trainer, epoch)
        workers |= {worker.pid for worker in trainer.loader._loader._iterator._workers}
        torch.testing.assert_close(norm.running_mean, running, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(averaged.running_mean, average, rtol=1e-4, atol=1e-5)
    trainer.loader.close()
    assert sides == [12] * 6 + [16] * 6  # behind the stem's stride
    assert len(workers) == 1


class OneImage:
    """As much of a data set as is looked at before the first step."""

    classes, labels = ("a",), np.zeros(1, dtype=np.int64)

    def __len__(self) -> int:
        return 1


def test_one_value_a_channel_is_refused_before_the_first_step(config: TrainConfig, tmp_path) -> None:
    source = find_images(config.data, split="train")
    wanted = (
        r"BatchNorm in stages\.3 would see one value a channel, of 1 image of 32 px, and needs two; "
        r"use batch_size=2 or more for each part of a step, or input_size above 32"
    )
    alone = config.with_values({"batch_size": 1})
    with pytest.raises(ConfigError, match=wanted):
        Trainer(alone, source, Distributed())
    with pytest.raises(ConfigError, match=wanted):
        plan(alone)
    with pytest.raises(ConfigError, match="add training images, or input_size above 32"):
        Trainer(config, OneImage(), Distributed())
    phased = config.with_values(
        {"batch_size": 1, "input_size": 64, "progressive": (Phase(until=0.5, size=32),)}
    )
    with pytest.raises(ConfigError, match="of 1 image of 32 px"):
        Trainer(phased, source, Distributed())
    # Ranks with statistics of their own have an image each, of six images a step on four ranks.
    split = config.with_values({"sync_bn": False})
    with pytest.raises(ConfigError, match="one value a channel"):
        Trainer(split, source, Distributed(world_size=4), step_images=6)


def test_two_values_a_channel_are_enough(config: TrainConfig, tmp_path) -> None:
    source = find_images(config.data, split="train")
    start = save_model(Trainer(config, source, Distributed()).network, tmp_path / "start.safetensors")
    for values in (
        {"batch_size": 2},
        {"batch_size": 1, "input_size": 33},
        {"batch_size": 1, "init": str(start), "freeze": ("stem", "stages")},
    ):
        trainer = Trainer(config.with_values(values), source, Distributed())
        trainer.take(next(iter(trainer.batches(0))), step=0)


def test_a_class_to_choose_by_that_nobody_can_read_is_said(config: TrainConfig) -> None:
    val = find_images(config.data, split="val")
    for index in np.flatnonzero(val.labels == 0):
        val.path(index).write_bytes(b"no image")
    config = config.with_values({"saving.select": "recall/dark", "loading.on_bad_image": "skip"})
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    with pytest.raises(TrainingError, match="select=recall/dark was not measured after epoch 1"):
        trainer.evaluate(val, epoch=0, show=False)


def test_evaluation_computes_a_fused_copy(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_data(config.data, split="train")
    trainer = Trainer(config, images, Distributed())
    seen, real = [], trainer_module.evaluate
    monkeypatch.setattr(
        trainer_module, "evaluate", lambda model, *args, **kw: seen.append(model) or real(model, *args, **kw)
    )
    result = trainer.evaluate(images, epoch=0, show=False)
    assert [model.form for model in seen] == ["inference"]
    assert seen[0] is not trainer.averaged
    assert result.loss == pytest.approx(real(trainer.averaged, images, progress=False).loss, rel=1e-4)
    trainer.loader.close()


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # torch's own, where its compiler is loaded
def test_what_is_compiled_runs_once_batch_norm_s_momentum_stays(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, told = config.with_values({"compute.compile": True}), []
    trainer = Trainer(config, open_data(config.data, split="train"), Distributed())
    assert trainer.step.model is trainer.network
    assert trainer.network._compiled_call_impl is not None
    assert not any(name.startswith("_orig_mod") for name in trainer.network.state_dict())
    monkeypatch.setattr(trainer.network, "_compiled_call_impl", trainer.network._call_impl)
    monkeypatch.setattr(torch.compiler, "set_stance", lambda stance: nullcontext(told.append(stance)))
    for step, batch in zip((0, 1, 500), trainer.batches(0), strict=True):
        trainer.take(batch, step=step)
    assert told == ["force_eager"] * 2
    trainer.loader.close()
