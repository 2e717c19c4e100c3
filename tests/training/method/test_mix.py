"""Mixup and cutmix: pixels, shares, and what is drawn."""

import numpy as np
import pytest
import torch

from mobileone.training.config.objective import Mix
from mobileone.training.method.mix import Mixer, cutmix, mixed_logits, mixup, neighbours


def numbered(n: int = 3, size: int = 8) -> torch.Tensor:
    """Image i is 10·i everywhere, uint8 (n, 3, size, size), channels last."""
    values = 10 * torch.arange(n, dtype=torch.uint8)
    images = values.view(-1, 1, 1, 1).expand(n, 3, size, size)
    return images.contiguous(memory_format=torch.channels_last)


def test_the_neighbour_is_the_one_before() -> None:
    assert neighbours(torch.tensor([5, 6, 7])).tolist() == [7, 5, 6]


def test_mixup_by_hand() -> None:
    mixed = mixup(numbered(), share=0.75)
    assert mixed[:, 0, 0, 0].tolist() == [5.0, 7.5, 17.5]  # ¾·0 + ¼·20, ¾·10 + ¼·0, ¾·20 + ¼·10
    assert mixed.dtype == torch.float32
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("share", "center", "rows", "columns"),
    [
        (0.75, (0.5, 0.5), (2, 6), (2, 6)),  # half the side of 8
        (0.75, (0.0, 0.5), (0, 2), (2, 6)),  # cut off at the top
        (0.75, (1.0, 1.0), (6, 8), (6, 8)),
        (1.0, (0.5, 0.5), (4, 4), (4, 4)),
        (0.0, (0.5, 0.5), (0, 8), (0, 8)),
    ],
)
def test_cutmix_by_hand(share: float, center: tuple[float, float], rows: tuple, columns: tuple) -> None:
    images = numbered()
    mixed, left = cutmix(images, share=share, center=center)
    box = torch.zeros(8, 8, dtype=torch.bool)
    box[slice(*rows), slice(*columns)] = True
    assert torch.equal(mixed, torch.where(box, neighbours(images), images))
    assert left == pytest.approx(1 - box.float().mean().item())
    assert mixed.dtype == torch.uint8
    assert torch.equal(images, numbered())


def test_what_is_drawn_follows_from_seed_and_step_alone() -> None:
    mixer = Mixer(options=Mix(mixup=0.2, cutmix=1.0, probability=0.8), seed=3)
    drawn = [mixer.draw(step) for step in range(200)]
    torch.manual_seed(9)
    np.random.seed(9)
    assert drawn == [Mixer(options=mixer.options, seed=3).draw(step) for step in range(200)]
    assert drawn != [Mixer(options=mixer.options, seed=4).draw(step) for step in range(200)]
    kinds = [blend.kind if blend else None for blend in drawn]
    assert kinds.count(None) == pytest.approx(40, abs=16)
    assert kinds.count("mixup") == pytest.approx(80, abs=20)


def test_shares_are_beta_distributed() -> None:
    mixer = Mixer(options=Mix(mixup=0.4), seed=0)
    shares = np.array([mixer.draw(step).share for step in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(α, α)
    centers = {Mixer(options=Mix(cutmix=1.0), seed=0).draw(step).center for step in range(20)}
    assert len(centers) == 20


def test_a_batch_is_mixed_with_the_share_that_is_really_left() -> None:
    images = numbered()
    assert Mixer(options=Mix(), seed=0)(images, step=0) == (images, None)
    for step in range(20):
        mixed, blend = Mixer(options=Mix(cutmix=1.0), seed=0)(images, step=step)
        assert blend is not None
        assert (mixed[1] == 10).float().mean().item() == pytest.approx(blend.share)
        mixed, blend = Mixer(options=Mix(mixup=1.0), seed=0)(images, step=step)
        assert blend is not None
        assert mixed[1].mean().item() == pytest.approx(10 * blend.share, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_mixed_logits_are_those_of_mixed_probabilities(share: float, temperature: float) -> None:
    logits = 3 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    for task, chances in (("singlelabel", lambda z: z.softmax(1)), ("multilabel", torch.sigmoid)):
        own = chances(logits / temperature)
        mixed = mixed_logits(logits, share=share, temperature=temperature, task=task)
        expected = share * own + (1 - share) * neighbours(own)
        torch.testing.assert_close(chances(mixed / temperature), expected)


def test_probabilities_too_small_for_float32_stay_numbers() -> None:
    logits = torch.tensor([[500.0, 0.0], [0.0, 500.0]])
    for share in (0.0, 0.5, 1.0):
        assert mixed_logits(logits, share=share, temperature=1.0).isfinite().all()
    labels = mixed_logits(logits, share=0.5, temperature=1.0, task="multilabel")
    torch.testing.assert_close(labels.sigmoid(), torch.tensor([[0.75, 0.75]] * 2))
