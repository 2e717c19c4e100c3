"""Which images are read, in what order, on which rank: decided in the main process, request by request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from mobileone.data.augment import TrainTransform
from mobileone.errors import ConfigError, DataError
from mobileone.images.eval_transform import EvalTransform

LOOKAHEAD_IMAGES = 4096
"""Images of a rank that a streamed source is told of before they are read: some seconds of training."""

Order = Callable[[torch.Generator], Tensor]


class Request(NamedTuple):
    """One batch to read. `epoch` is `None` for evaluation, which draws nothing and substitutes nothing."""

    indices: list[int]
    transform: TrainTransform | EvalTransform
    epoch: int | None
    soon: list[int]
    """Images of later batches, for a streamed source."""


class TrainRequests(Sampler[Request]):
    """The steps of an epoch, for one rank, from step `start` on (0 is the first).

    `order` is that of a streamed source, or a weighted one; None is any permutation. `tells` is whether the
    source is told of what comes.
    """

    def __init__(
        self,
        num_images: int,
        transform: TrainTransform | Callable[[int], TrainTransform],
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
        step_size: int | None = None,
        order: Order | None = None,
        tells: bool = False,
    ) -> None:
        _check_split(batch_size, rank, world_size)
        if seed < 0:
            raise ConfigError(f"seed must be 0 or more, got {seed}")
        if num_images < world_size:
            raise DataError(
                f"{num_images} training images for {world_size} ranks; every rank needs at least one"
            )
        self.num_images = num_images
        self.transform = transform
        self.step_size = min(step_size or batch_size * world_size, num_images)
        if self.step_size < world_size:
            raise ConfigError(
                f"{self.step_size} images a step for {world_size} ranks; every rank needs at least one"
            )
        self.seed = seed
        self.order = order
        self.tells = tells
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self.num_images // self.step_size

    def __iter__(self) -> Iterator[Request]:
        epoch = self.epoch
        transform = self.transform if isinstance(self.transform, TrainTransform) else self.transform(epoch)
        generator = seeded_generator(self.seed, epoch)
        if self.order is None:
            order = torch.randperm(self.num_images, generator=generator)
        else:
            order = self.order(generator)
        ahead = -(-LOOKAHEAD_IMAGES * self.world_size // self.step_size) if self.tells else 0

        def share(step: int) -> list[int]:
            together = order[step * self.step_size : (step + 1) * self.step_size]
            own: list[int] = together[self.rank :: self.world_size].tolist()
            return own

        for indices, soon in _with_lookahead(share, range(self.start, len(self)), ahead=ahead):
            yield Request(indices, transform, epoch, soon)


class EvalRequests(Sampler[Request]):
    """Every image of one rank once, in order, from batch `start` on (0 is the first).

    `tells` is whether the source is to be told of what comes.
    """

    def __init__(
        self,
        num_images: int,
        transform: EvalTransform,
        batch_size: int,
        rank: int,
        world_size: int,
        tells: bool = False,
    ) -> None:
        _check_split(batch_size, rank, world_size)
        self.indices = range(rank, num_images, world_size)
        self.transform = transform
        self.batch_size = batch_size
        self.tells = tells
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[Request]:
        ahead = -(-LOOKAHEAD_IMAGES // self.batch_size) if self.tells else 0

        def batch(number: int) -> list[int]:
            return list(self.indices[number * self.batch_size : (number + 1) * self.batch_size])

        for indices, soon in _with_lookahead(batch, range(self.start, len(self)), ahead=ahead):
            yield Request(indices, self.transform, None, soon)


def _with_lookahead(
    batch: Callable[[int], list[int]], numbers: range, *, ahead: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Each batch, with images `ahead` batches later (0: none); the first with all those on the way there."""
    for number in numbers:
        new = range(number if number == numbers.start else number + ahead, number + ahead + 1)
        soon = [index for later in new if later in numbers for index in batch(later)] if ahead else []
        yield batch(number), soon


def _check_split(batch_size: int, rank: int, world_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank must be in 0..world_size − 1, got rank {rank} of {world_size}")


def seeded_generator(seed: int, *key: int) -> torch.Generator:
    """A generator that depends on the seed and on all of the key, and on nothing else."""
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return torch.Generator().manual_seed(int(sequence.generate_state(1)[0]))  # it takes 32 bits
