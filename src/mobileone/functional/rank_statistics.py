"""Statistics of the whole batch from those of every rank, differentiably: what SyncBN exchanges."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mobileone.functional.online.branch_statistics import BranchStatistics


class _AllGather(torch.autograd.Function):
    """(V,) on each rank to (ranks, V) on all; backward, what all ranks' losses ask of this rank's values."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        gathered = [torch.empty_like(value) for _ in range(dist.get_world_size(group))]
        dist.all_gather(gathered, value.contiguous(), group=group)
        return torch.stack(gathered)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous()
        dist.all_reduce(grad, group=ctx.group)
        return grad[dist.get_rank(ctx.group)], None


def gather_statistics(
    statistics: BranchStatistics, count: int, *, group: dist.ProcessGroup | None = None
) -> tuple[BranchStatistics, Tensor]:
    """Merge every rank's statistics (Chan, Golub and LeVeque 1979), weighted by their counts.

    One exchange forward and one backward, of 2 B C_out numbers: what SyncBN sends for the same branches.

    Args:
        statistics: of this rank's images.
        count: values a channel on this rank.
        group: the ranks; None is all.

    Returns:
        The statistics over all ranks, and their count, a scalar.
    """
    shape = statistics.mean.shape
    flat = torch.cat(
        [statistics.mean.flatten(), statistics.var.flatten(), statistics.mean.new_full((1,), count)]
    )
    parts: Tensor = _AllGather.apply(flat, group)  # type: ignore[no-untyped-call]
    means, variances = parts[:, :-1].view(-1, 2, *shape).unbind(1)
    counts = parts[:, -1].detach().view(-1, 1, 1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    var = (counts * (variances + (means - mean).square())).sum(0) / total
    return BranchStatistics(mean, var), total
