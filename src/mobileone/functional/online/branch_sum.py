"""The one convolution that equals the sum of all branches, each after its BatchNorm.

BatchNorm(W ∗ x) with statistics μ and σ² is the convolution with kernel s W and bias β − s μ, s = γ / √(σ² +
ε), and the branches add up. The statistics depend on x too, and gradients flow through them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mobileone.functional.first_order import first_order
from mobileone.functional.online.branch_statistics import BranchStatistics


class _BranchSum(torch.autograd.Function):
    """Σ s W and −Σ s μ with s = γ / √(σ² + ε).

    A backward pass of its own, for the same reason as the statistics have one.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, mean: Tensor, var: Tensor, gamma: Tensor, eps: Tensor, identity: bool
    ) -> tuple[Tensor, Tensor]:
        inverse = (var + eps).rsqrt_()
        scale = gamma * inverse
        branches, out_channels, in_per_group = weight.shape[:3]
        kernel = (weight * scale[:branches].view(branches, out_channels, 1, 1, 1)).sum(0)
        if identity:
            # Output channel c reads channel c mod (C / groups) of its group, under the kernel's centre.
            _centre_diagonal(kernel).add_(scale[-1].view(-1, in_per_group))
        ctx.save_for_backward(weight, mean, inverse, gamma)
        ctx.identity = identity
        return kernel, (scale * mean).sum(0).neg_()

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_kernel: Tensor, grad_bias: Tensor) -> tuple[Tensor | None, ...]:
        weight, mean, inverse, gamma = ctx.saved_tensors
        branches, out_channels = weight.shape[:2]
        scale = gamma * inverse
        grad_scale = (weight * grad_kernel).sum((2, 3, 4))
        if ctx.identity:
            of_identity = _centre_diagonal(grad_kernel).reshape(1, -1)
            grad_scale = torch.cat([grad_scale, of_identity])
        grad_scale = grad_scale.addcmul_(mean, grad_bias, value=-1)
        grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_weight = grad_kernel * scale[:branches].view(branches, out_channels, 1, 1, 1)
        grad_gamma = grad_scale * inverse
        grad_var = grad_gamma * scale * inverse * -0.5
        return grad_weight, scale * -grad_bias, grad_var, grad_gamma, None, None


def _centre_diagonal(kernel: Tensor) -> Tensor:
    """What the identity adds to, (G, C / groups), a view."""
    in_per_group = kernel.shape[1]
    centre = kernel[:, :, kernel.shape[2] // 2, kernel.shape[3] // 2]
    return centre.reshape(-1, in_per_group, in_per_group).diagonal(dim1=1, dim2=2)


def sum_branches(
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
    kernel, bias = _BranchSum.apply(  # type: ignore[no-untyped-call]
        weight, statistics.mean, statistics.var, gamma, eps, identity
    )
    return kernel, bias + shift
