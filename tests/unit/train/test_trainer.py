"""The parts of a run in memory."""

import dataclasses

import torch

from mobileone.checkpoint.store import save_model
from mobileone.data.folder import find_images
from mobileone.train.config import TrainConfig
from mobileone.train.distributed import Distributed
from mobileone.train.progress import EpochProgress
from mobileone.train.trainer import Trainer


def test_fresh_statistics_are_the_plain_average_of_the_first_batches(config: TrainConfig) -> None:
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    norm = trainer.network.stages[0][0].identity or trainer.network.stem.conv_kxk[0].bn
    seen = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().mean((0, 2, 3))))
    trainer.train_epoch(EpochProgress(epoch=0), show=False)
    assert len(seen) == 3
    assert torch.allclose(norm.running_mean, torch.stack(seen).mean(0), atol=1e-6)


def test_statistics_that_come_with_weights_are_kept(config: TrainConfig, tmp_path) -> None:
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    weights = save_model(trainer.network, tmp_path / "start.safetensors")
    config = dataclasses.replace(config, init=str(weights))
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    trainer.train_epoch(EpochProgress(epoch=0), show=False)
    assert trainer.network.stem.conv_kxk[0].bn.momentum == 0.1
