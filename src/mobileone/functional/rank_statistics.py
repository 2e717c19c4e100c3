"""Means and variances of a whole batch from those of its parts, one on each rank: what SyncBN exchanges."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def merge_statistics(counts: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and biased variance of a whole from those of its parts (Chan, Golub and LeVeque 1979).

    Unlike a sum of squares it does not cancel where the mean is large beside the deviation.

    Args:
        counts: values a part, (parts, 1), with a 1 more for each further axis of the means.
        means: (parts, …, C).
        variances: biased, likewise.

    Returns:
        The count, (1,) as a rule, and mean and variance, (…, C).

    >>> count, mean, var = merge_statistics(
    ...     torch.tensor([[1.0], [3.0]]), torch.tensor([[4.0], [0.0]]), torch.tensor([[0.0], [1.0]])
    ... )
    >>> count.item(), mean.item(), var.item()
    (4.0, 1.0, 3.75)
    """
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count
    var = (counts * (variances + (means - mean).square())).sum(0) / count
    return count, mean, var


def gather_ranks(value: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """(V,) of each rank to (ranks, V) on all of them; gradients do not flow."""
    gathered = value.new_empty(dist.get_world_size(group) * len(value))  # gloo takes no rows of ranks
    gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # torch < 2.13
    gather(gathered, value.contiguous(), group=group)
    return gathered.view(-1, len(value))


class _GatherRanks(torch.autograd.Function):
    """`gather_ranks`; backward, what all ranks' losses ask of this rank's values."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        return gather_ranks(value, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous()
        dist.all_reduce(grad, group=ctx.group)
        return grad[dist.get_rank(ctx.group)], None


def statistics_of_all_ranks(
    mean: Tensor, var: Tensor, count: int, *, group: dist.ProcessGroup | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics over the images of every rank, differentiably, weighted by the ranks' counts.

    One exchange forward and one backward, of twice the size of the mean: of B branches, 2 B C_out numbers,
    which is what SyncBN sends for the same branches.

    Args:
        mean: of this rank's images, (B, C).
        var: biased, likewise.
        count: values a channel on this rank.
        group: the ranks; None is all.

    Returns:
        Mean and variance over all ranks, (B, C), and their count, a scalar.
    """
    flat = torch.cat([mean.flatten(), var.flatten(), mean.new_full((1,), count)])
    parts: Tensor = _GatherRanks.apply(flat, group)  # type: ignore[no-untyped-call]
    means, variances = parts[:, :-1].view(-1, 2, *mean.shape).unbind(1)
    total, mean, var = merge_statistics(parts[:, -1].detach().view(-1, 1, 1), means, variances)
    return mean, var, total.squeeze()
