"""Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899): the images of a batch with their neighbours.

Each image is mixed with the one before it in the rank's batch, which is shuffled anyway. What is drawn
follows from (seed, step) alone, so that a resumed run mixes as the uninterrupted one, and all ranks alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.task import Task
from mobileone.training.config.objective import Mix

# The loader's keys have one number (an epoch's order) or two (an image of an epoch).
KEY = (0, 0)


class Blend(NamedTuple):
    """How a batch is mixed.

    Attributes:
        kind: which of the two.
        share: of the image itself in the result and in its target, in [0, 1].
        center: of the box that cutmix pastes, (y, x), each in [0, 1].
    """

    kind: Literal["mixup", "cutmix"]
    share: float
    center: tuple[float, float] = (0.5, 0.5)


def mixup(images: Tensor, *, share: float) -> Tensor:
    """share · image + (1 − share) · its neighbour.

    Args:
        images: (N, C, H, W), uint8 or floating.
        share: in [0, 1].

    Returns:
        float32 on the scale of `images`: half a grey level of rounding would be lost in uint8.

    >>> import torch
    >>> mixup(torch.tensor([0, 100], dtype=torch.uint8).view(2, 1, 1, 1), share=0.75).flatten()
    tensor([25., 75.])
    """
    pixels = images.float()
    return neighbours(pixels).lerp(pixels, share)


def cutmix(images: Tensor, *, share: float, center: tuple[float, float]) -> tuple[Tensor, float]:
    """Every image with a box of its neighbour pasted in.

    The box has the image's proportions and (1 − share) of its area, about a point uniform in the image, and
    is cut off where it sticks out.

    Args:
        images: (N, C, H, W), any dtype; stays as it is.
        share: what is meant to be left of the image, in [0, 1].
        center: of the box, (y, x), each in [0, 1].

    Returns:
        The images, and the share of each that is left.

    >>> import torch
    >>> images = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    >>> mixed, share = cutmix(images, share=0.75, center=(0.5, 0.5))
    >>> mixed[0].sum(), share
    (tensor(4.), 0.75)
    """
    height, width = images.shape[-2:]
    side = math.sqrt(1 - share)
    rows, columns = (
        slice(*(min(max(round(length * (at + half)), 0), length) for half in (-side / 2, side / 2)))
        for length, at in ((height, center[0]), (width, center[1]))
    )
    mixed = images.clone()
    mixed[..., rows, columns] = neighbours(images)[..., rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, 1 - pasted / (height * width)


def neighbours(batch: Tensor) -> Tensor:
    """What each image (or label) is mixed with: the one before it, the last one for the first."""
    return batch.roll(1, 0)


def mixed_logits(logits: Tensor, *, share: float, temperature: float, task: Task = "singlelabel") -> Tensor:
    """Logits whose probabilities, at that temperature, are those of each image and its neighbour, mixed.

    Args:
        logits: of the images before they were mixed, float32 (N, K).
        share: of the image itself, in [0, 1].
        temperature: that logits are divided by before softmax, or before sigmoid where an image has several
            labels.
        task: which of the two.

    >>> logits = torch.tensor([[0.2, 0.8], [0.6, 0.4]]).log()
    >>> mixed_logits(logits, share=0.75, temperature=1.0).softmax(1)
    tensor([[0.3000, 0.7000],
            [0.5000, 0.5000]])
    """
    own, other = (math.log(part) if part > 0 else -math.inf for part in (share, 1 - share))
    scaled = logits / temperature

    def mixed(log_probabilities: Tensor) -> Tensor:  # as logarithms, for the small ones are 0 in float32
        return torch.logaddexp(log_probabilities + own, neighbours(log_probabilities) + other)

    if task == "singlelabel":
        return temperature * mixed(scaled.log_softmax(1))
    return temperature * (mixed(F.logsigmoid(scaled)) - mixed(F.logsigmoid(-scaled)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixer:
    """Mixes the batches of a run.

    Attributes:
        options: what is drawn.
        seed: of the run.
    """

    options: Mix
    seed: int

    def draw(self, step: int) -> Blend | None:
        """How the batch of that step is mixed; None leaves it.

        >>> mixer = Mixer(options=Mix(mixup=0.2, cutmix=1.0), seed=0)
        >>> mixer.draw(7) == mixer.draw(7), mixer.draw(7) == mixer.draw(8)
        (True, False)
        """
        if not self.options.is_on:
            return None
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(*KEY, step)))
        chance, which, y, x = random.random(4).tolist()
        if chance >= self.options.probability:
            return None
        cuts = self.options.cutmix > 0 and (self.options.mixup == 0 or which < 0.5)
        alpha = self.options.cutmix if cuts else self.options.mixup
        share = float(random.beta(alpha, alpha))
        return Blend("cutmix", share, (y, x)) if cuts else Blend("mixup", share)

    def __call__(self, images: Tensor, *, step: int) -> tuple[Tensor, Blend | None]:
        """The batch of a step, mixed, and how; `share` is what is really left of an image.

        Args:
            images: uint8 (N, C, H, W), on the device; cutmix gives uint8, mixup float32 pixels.
            step: of the whole run.
        """
        blend = self.draw(step)
        if blend is None:
            return images, None
        if blend.kind == "mixup":
            return mixup(images, share=blend.share), blend
        mixed, share = cutmix(images, share=blend.share, center=blend.center)
        return mixed, blend._replace(share=share)
