"""The loss against its definition."""

import pytest
import torch

from mobileone.train.loss import smoothed_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_it_is_the_cross_entropy_with_the_mixed_target(smoothing: float) -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    target = torch.full((6, 5), smoothing / 5, dtype=torch.float64)
    target[torch.arange(6), labels] += 1 - smoothing
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(smoothed_cross_entropy(logits, labels, smoothing=smoothing), expected)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.tensor([[20000.0, 0.0]], dtype=torch.float16)
    loss = smoothed_cross_entropy(logits, torch.tensor([1]), smoothing=0.0)
    assert loss.dtype == torch.float32
    assert loss.item() == 20000.0
