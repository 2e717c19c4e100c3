"""Mean and variance of each branch's output from the moments of the patches it reads, and BatchNorms' memory.

Branch b is z = W_b ∗ x. With m and S the mean and covariance of the patches of x, E[z] = W m and
Var[z] = diag(W S Wᵀ): exact, and differentiable. docs/online.md has the derivation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mobileone.functional.first_order import first_order
from mobileone.functional.online.moments import PatchMoments, symmetric_product

# Largest patch whose products are sums over elements: those of depthwise units and of the stem.
MAX_SUMMED = 32


class BranchStatistics(NamedTuple):
    """What BatchNorm knows of its input, for several branches at once.

    Attributes:
        mean: (B, C_out).
        var: biased, (B, C_out).
    """

    mean: Tensor
    var: Tensor


class _BranchStatistics(torch.autograd.Function):
    """Mean W m and variance diag(W S Wᵀ) of each branch; the identity's are elements of m and S.

    A backward pass of its own, because a unit's small tensors otherwise cost more in calls than its
    convolution does in arithmetic.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, mean: Tensor, cov: Tensor, identity: bool) -> tuple[Tensor, Tensor]:
        """weight (B, C_out, C_in / groups, kh, kw), mean (G, P), cov (G, P, P) to two (B', C_out)."""
        branches, out_channels = weight.shape[:2]
        groups = mean.shape[0]
        # (B, G, R, P) to (G, B · R, P): R = C_out / G kernels of each branch share a group's moments.
        # Contiguous, because torch multiplies batches of strided matrices one by one.
        rows = weight.reshape(branches, groups, out_channels // groups, -1).transpose(0, 1).flatten(1, 2)
        rows = rows.to(mean.dtype).contiguous()
        product = _exact_product(rows, cov)
        means = _exact_product(rows, mean.unsqueeze(2)).view(groups, branches, -1).transpose(0, 1).flatten(1)
        variances = (product * rows).sum(2).view(groups, branches, -1).transpose(0, 1).flatten(1)
        if identity:
            centre = _centre(weight)
            means = torch.cat([means, mean[:, centre].reshape(1, -1)])
            variances = torch.cat([variances, cov.diagonal(dim1=1, dim2=2)[:, centre].reshape(1, -1)])
        ctx.save_for_backward(rows, product, mean)
        ctx.shape, ctx.dtype, ctx.centre = weight.shape, weight.dtype, _centre(weight) if identity else None
        # Rounding may push the variance of a constant a little below zero.
        return means.to(weight.dtype), variances.clamp_(min=0).to(weight.dtype)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_means: Tensor, grad_variances: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of S is symmetric."""
        rows, product, mean = ctx.saved_tensors
        branches, groups = ctx.shape[0], len(mean)
        needs_weight, needs_moments = ctx.needs_input_grad[:2]
        grads = [grad.to(mean.dtype) for grad in (grad_means, grad_variances)]
        of_mean, of_var = (
            grad[:branches].view(branches, groups, -1).transpose(0, 1).reshape(groups, -1, 1)
            for grad in grads
        )
        grad_weight = grad_mean = grad_cov = None
        if needs_weight:
            by_group = torch.addcmul(product * (2 * of_var), of_mean, mean.unsqueeze(1))
            by_branch = by_group.view(groups, branches, -1, mean.shape[1]).transpose(0, 1)
            grad_weight = by_branch.reshape(ctx.shape).to(ctx.dtype)
        if needs_moments:
            grad_mean = (rows * of_mean).sum(1)
            left, right = rows.mT, rows * of_var
            grad_cov = symmetric_product(left[0], right[0])[None] if groups == 1 else left @ right
            if ctx.centre is not None:
                grad_mean[:, ctx.centre] += grads[0][-1].view(groups, -1)
                grad_cov.diagonal(dim1=1, dim2=2)[:, ctx.centre] += grads[1][-1].view(groups, -1)
        return grad_weight, grad_mean, grad_cov, None


def _exact_product(rows: Tensor, small: Tensor) -> Tensor:
    """rows @ small, (G, R, P) and (G, P, Q), small patches element by element.

    A GPU may round the operands of products of matrices to ten bits (TF32). Of neighbouring pixels, which are
    alike, diag(W S Wᵀ) would then lose some per cent.
    """
    if small.shape[1] > MAX_SUMMED:
        return rows @ small
    return (rows.unsqueeze(3) * small.unsqueeze(1)).sum(2)


def _centre(weight: Tensor) -> slice:
    """The centre taps among the P elements of a patch."""
    taps = weight.shape[3] * weight.shape[4]
    return slice(taps // 2, None, taps)


def branch_statistics(weight: Tensor, moments: PatchMoments, *, identity: bool = False) -> BranchStatistics:
    """Mean and variance of each branch's output, from the moments of its patches.

    Args:
        weight: stacked kernels of the convolution branches, (B, C_out, C_in / groups, kh, kw).
        moments: of patches of that size and grouping.
        identity: whether x itself is one more branch, the last: odd kernel, same padding, stride 1.

    Returns:
        In the dtype of the kernels, (B, C_out), or (B + 1, C_out) with the identity.

    >>> from mobileone.functional.online.moments import reference_moments
    >>> from mobileone.functional.window import Window
    >>> x, w = torch.randn(2, 3, 5, 5), torch.randn(1, 4, 3, 3, 3)
    >>> statistics = branch_statistics(w, reference_moments(x, Window((3, 3))))
    >>> z = torch.nn.functional.conv2d(x, w[0])
    >>> torch.allclose(statistics.var[0], z.var((0, 2, 3), correction=0), rtol=1e-4)
    True
    """
    mean, var = _BranchStatistics.apply(  # type: ignore[no-untyped-call]
        weight, moments.mean, moments.cov, identity
    )
    return BranchStatistics(mean, var)


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
