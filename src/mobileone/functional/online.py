"""From patch moments and the branches' parameters to the one convolution that equals their sum.

Branch b is z = W_b ∗ x, then BatchNorm with the batch's own statistics. With m and S the mean and covariance
of the patches of x, E[z] = W m and Var[z] = diag(W S Wᵀ), so the branch is the convolution with kernel
(γ / σ) W and bias β − (γ / σ) E[z], where σ² = Var[z] + ε; and the branches add up. Everything here is exact
and differentiable, through the statistics too. docs/online.md has the derivation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mobileone.functional.moments import PatchMoments


class BranchStatistics(NamedTuple):
    """What BatchNorm knows of its input, for several branches at once.

    Attributes:
        mean: (B, C_out).
        var: biased, (B, C_out).
    """

    mean: Tensor
    var: Tensor


class _QuadraticForm(torch.autograd.Function):
    """diag(W S Wᵀ) for W (G, R, P) and symmetric S (G, P, P): (G, R). One product each way."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, cov: Tensor) -> Tensor:
        product = weight @ cov
        ctx.save_for_backward(weight, product)
        diagonal: Tensor = torch.linalg.vecdot(product, weight)
        return diagonal

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weight, product = ctx.saved_tensors
        grad_weight = grad_cov = None
        if ctx.needs_input_grad[0]:
            grad_weight = product * (2 * grad).unsqueeze(-1)
        if ctx.needs_input_grad[1]:
            grad_cov = weight.mT @ (weight * grad.unsqueeze(-1))
        return grad_weight, grad_cov


def convolution_statistics(weight: Tensor, moments: PatchMoments) -> BranchStatistics:
    """Mean and variance of convolutions of x, from the moments of its patches.

    Args:
        weight: stacked kernels, (B, C_out, C_in / groups, kh, kw), in the dtype of the moments.
        moments: of patches of that size and grouping.

    >>> from mobileone.functional.moments import reference_moments
    >>> from mobileone.functional.window import Window
    >>> x, w = torch.randn(2, 3, 5, 5), torch.randn(1, 4, 3, 3, 3)
    >>> statistics = convolution_statistics(w, reference_moments(x, Window((3, 3))))
    >>> z = torch.nn.functional.conv2d(x, w[0])
    >>> torch.allclose(statistics.var[0], z.var((0, 2, 3), correction=0), rtol=1e-4)
    True
    """
    branches, out_channels = weight.shape[:2]
    groups = moments.mean.shape[0]
    # (B, G, R, P) to (G, B · R, P): R = C_out / G kernels of each branch share a group's moments.
    # Contiguous: torch multiplies batches of strided matrices one by one.
    by_group = weight.reshape(branches, groups, out_channels // groups, -1).transpose(0, 1).flatten(1, 2)
    by_group = by_group.contiguous()

    def by_branch(value: Tensor) -> Tensor:
        return value.view(groups, branches, -1).transpose(0, 1).reshape(branches, out_channels)

    mean = (by_group @ moments.mean.unsqueeze(-1)).squeeze(-1)
    var = _QuadraticForm.apply(by_group, moments.cov)  # type: ignore[no-untyped-call]
    # Rounding may push the variance of a constant a little below zero.
    return BranchStatistics(by_branch(mean), by_branch(var).clamp(min=0))


def identity_statistics(moments: PatchMoments, *, num_taps: int) -> BranchStatistics:
    """Mean and variance (1, C) of x itself, where the kernel's centre tap visits every pixel once.

    Args:
        moments: of patches of an odd kernel with same padding at stride 1.
        num_taps: kh · kw.
    """
    centre = num_taps // 2
    mean = moments.mean[:, centre::num_taps]
    var = moments.cov.diagonal(dim1=1, dim2=2)[:, centre::num_taps]
    return BranchStatistics(mean.reshape(1, -1), var.reshape(1, -1).clamp(min=0))


def concatenate(parts: Sequence[BranchStatistics]) -> BranchStatistics:
    """The branches of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    return BranchStatistics(torch.cat([part.mean for part in parts]), torch.cat([part.var for part in parts]))


def merge_convolutions(
    weight: Tensor,
    statistics: BranchStatistics,
    *,
    gamma: Tensor,
    shift: Tensor,
    eps: Tensor,
    identity: bool = False,
) -> tuple[Tensor, Tensor]:
    """One kernel and bias for the sum of all branches, each after its BatchNorm.

    Args:
        weight: kernels of the convolution branches, (B, C_out, C_in / groups, kh, kw).
        statistics: of those branches and, if `identity`, of the identity as one more: (B', C_out).
        gamma: gains, (B', C_out).
        shift: sum of the branches' shifts β, (C_out,).
        eps: added to variances, (B', 1).
        identity: whether the last branch is the identity.

    Returns:
        Kernel (C_out, C_in / groups, kh, kw) and bias (C_out,).
    """
    scale = gamma * (statistics.var + eps).rsqrt()
    bias = shift - (scale * statistics.mean).sum(0)
    branches, out_channels, in_per_group = weight.shape[:3]
    kernel = (weight * scale[:branches].view(branches, out_channels, 1, 1, 1)).sum(0)
    if identity:
        # Output channel c reads channel c mod (C / groups) of its group, under the kernel's centre.
        centre = kernel[:, :, kernel.shape[2] // 2, kernel.shape[3] // 2]
        centre = centre.view(-1, in_per_group, in_per_group)
        centre.diagonal(dim1=1, dim2=2).add_(scale[-1].view(-1, in_per_group))
    return kernel, bias


@torch.no_grad()
def update_running_statistics(
    norms: Sequence[torch.nn.BatchNorm2d], statistics: BranchStatistics, count: Tensor | int
) -> None:
    """Move the running statistics of each branch's BatchNorm on, as its own forward pass would.

    Args:
        norms: one a branch; those without running statistics are left alone.
        statistics: of the batch, (B, C_out).
        count: values a channel, at least 2; a tensor where it comes from other ranks.
    """
    unbiased = statistics.var * (count / (count - 1))
    running: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
    for norm, mean, var in zip(norms, statistics.mean, unbiased, strict=True):
        if not norm.training or norm.running_mean is None or norm.running_var is None:
            continue
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # the plain average over all batches so far
            share = 1 / norm.num_batches_tracked.to(mean.dtype)
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share.to(norm.running_mean.dtype))
            norm.running_var.lerp_(var.to(norm.running_var.dtype), share.to(norm.running_var.dtype))
            continue
        old, new = running.setdefault(norm.momentum, ([], []))
        old += [norm.running_mean, norm.running_var]
        new += [mean.to(norm.running_mean.dtype), var.to(norm.running_var.dtype)]
    for momentum, (old, new) in running.items():
        torch._foreach_lerp_(old, new, momentum)
