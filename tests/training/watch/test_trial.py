"""Steps that are tried out."""

import pytest
import torch

from mobileone.data.folder import find_images
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.trial import Trial


@pytest.fixture
def trainer(config: TrainConfig) -> Trainer:
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    trainer.train_mode()
    return trainer


def test_a_trial_is_a_real_step_and_keeps_no_gradients(trainer: Trainer) -> None:
    before = trainer.network.head.fc.weight.detach().clone()
    Trial(trainer.step)(5, 32)
    assert not torch.equal(trainer.network.head.fc.weight, before)
    assert trainer.ema is not None
    assert trainer.ema.num_updates == 1
    assert all(p.grad is None for p in trainer.network.parameters())


def test_a_trial_alone_leaves_the_run_as_it_is(trainer: Trainer) -> None:
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trial = Trial.alone(trainer.step)
    trial(5, 32)
    after = trainer.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert trainer.ema is not None
    assert trainer.ema.num_updates == 0
    assert (trial.step.dist.world_size, trial.step.amp) == (1, trainer.step.amp)
    assert trial.step.network.stem.branch_mode == trainer.network.stem.branch_mode


def test_a_trial_that_fails_keeps_no_gradients_either(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(trainer.step.optimizer, "step", full)
    with pytest.raises(torch.OutOfMemoryError):
        Trial(trainer.step)(4, 32)
    assert all(p.grad is None for p in trainer.network.parameters())
