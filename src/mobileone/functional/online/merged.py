"""A unit as one convolution from the moments of its patches: one node of autograd on the compiled C kernels.

The same function as moments.py, branch_statistics.py and branch_sum.py compose, with the backward pass
written out: it takes the ReLU, the convolution's gradient and that of the moments together, and its small
tensors cost a few calls instead of hundreds.

    x ─ moments m, S ─ statistics of each branch ─ settle ─ one kernel and bias ─┐
    └──────────────────────────────────────────────────────────────── convolution ─ ReLU ─ out

Backward, the kernel's gradient comes first: from it follow, right to left, those of gains, statistics,
kernels and moments, and only then can x be given its own, by the convolution and by the moments in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from mobileone.functional.first_order import first_order
from mobileone.functional.fold import embed_pointwise
from mobileone.functional.kernels import affine, depthwise_convolution
from mobileone.functional.kernels.branch_stack import BranchStack
from mobileone.functional.kernels.depthwise_moments import moments_sums
from mobileone.functional.memory_layout import channels_last, pixel_rows
from mobileone.functional.online.branch_statistics import BranchStatistics
from mobileone.functional.online.moments import add_product_, gram, patch_moments, symmetric_product
from mobileone.functional.row_products import multiply_columns, multiply_rows
from mobileone.functional.window import Window

# From the statistics of this process's batch to those the branches normalise with, differentiably.
Settle = Callable[[BranchStatistics], BranchStatistics]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitBranches:
    """The branches of a unit, with their parameters.

    Attributes:
        kernels: of the convolution branches, (C_out, C_in / groups, kh, kw) each.
        scale: of the scale branch, (C_out, C_in / groups, 1, 1), or None.
        gains: of each BatchNorm, (C_out,), None for 1: convolutions, scale, identity.
        shifts: likewise, None for 0.
        eps: likewise.
        identity: whether x itself is one more branch, the last.
        window: geometry of the convolutions.
        groups: their channel groups.
    """

    kernels: Sequence[Tensor]
    scale: Tensor | None
    gains: Sequence[Tensor | None]
    shifts: Sequence[Tensor | None]
    eps: Sequence[float]
    identity: bool
    window: Window
    groups: int

    def parameters(self) -> list[Tensor]:
        """Kernels, scale, then gains and shifts where they are: the order that `split` answers in."""
        scale = [] if self.scale is None else [self.scale]
        return [*self.kernels, *scale, *(value for value in (*self.gains, *self.shifts) if value is not None)]

    def with_parameters(self, parameters: Sequence[Tensor]) -> UnitBranches:
        """The same with others in the place of `parameters()`."""
        given = iter(parameters)
        return UnitBranches(
            kernels=[next(given) for _ in self.kernels],
            scale=None if self.scale is None else next(given),
            gains=[None if gain is None else next(given) for gain in self.gains],
            shifts=[None if shift is None else next(given) for shift in self.shifts],
            eps=self.eps,
            identity=self.identity,
            window=self.window,
            groups=self.groups,
        )

    def stacked(self) -> BranchStack:
        """What the C kernels take: the scale branch as a kernel of full size, gains and shifts in full."""
        window = self.window
        kernels = [kernel.detach() for kernel in self.kernels]
        if self.scale is not None:
            kernels.append(embed_pointwise(self.scale.detach(), window.kernel))
        ones = kernels[0].new_ones(len(kernels[0]))
        gains = [ones if gain is None else gain.detach() for gain in self.gains]
        shifts = [ones * 0 if shift is None else shift.detach() for shift in self.shifts]
        eps = torch.tensor(self.eps, dtype=torch.float64)
        weight = torch.stack(kernels).flatten(2)
        return BranchStack(weight, torch.stack(gains), torch.stack(shifts), eps, window.num_taps)

    def split(self, grad_weight: Tensor, grad_gamma: Tensor, grad_shift: Tensor) -> list[Tensor]:
        """Gradients of `parameters()` from those of the stacks; every shift has the same, (C_out,)."""
        num_kernels = len(self.kernels)
        grads = [grad_weight[i].view(kernel.shape) for i, kernel in enumerate(self.kernels)]
        if self.scale is not None:
            taps = self.window.num_taps
            centre = grad_weight[num_kernels][:, taps // 2 :: taps]
            grads.append(centre.contiguous().view(self.scale.shape))
        grads += [grad for grad, gain in zip(grad_gamma, self.gains, strict=True) if gain is not None]
        # A copy for each: parameters whose gradients share memory would add up into it together.
        return grads + [grad_shift.clone() for shift in self.shifts if shift is not None]


def merged_depthwise(x: Tensor, branches: UnitBranches, settle: Settle, *, relu: bool) -> Tensor:
    """The sum of all branches, each a depthwise convolution and a BatchNorm with what `settle` gives.

    Args:
        x: (N, C, H, W), such that the table has "merged_depthwise" for it.
        branches: what to merge.
        settle: called once with the statistics of x's branches.
        relu: whether ReLU follows.

    Returns:
        (N, C, H', W'), channels_last.
    """
    out: Tensor = _MergedDepthwise.apply(  # type: ignore[no-untyped-call]
        x, branches, settle, relu, *branches.parameters()
    )
    return out


def merged_dense(x: Tensor, branches: UnitBranches, settle: Settle, *, relu: bool) -> Tensor:
    """`merged_depthwise` for convolutions of one group: pointwise, or any whose input wants no gradient.

    Args:
        x: (N, C_in, H, W), such that the table has "merged_dense" for it.
        branches: what to merge.
        settle: called once with the statistics of x's branches.
        relu: whether ReLU follows.

    Returns:
        (N, C_out, H', W'), channels_last.
    """
    out: Tensor = _MergedDense.apply(  # type: ignore[no-untyped-call]
        x, branches, settle, relu, *branches.parameters()
    )
    return out


class _Settled:
    """Statistics before and after `settle`, and the gradients through it.

    `settle` is code of the model's (other ranks, frozen BatchNorms), so it runs under a small graph of its
    own: the backward pass needs its gradients midway, where autograd would give them only at the end.
    """

    def __init__(self, means: Tensor, variances: Tensor, settle: Settle) -> None:
        with torch.enable_grad():
            self.local = BranchStatistics(means.requires_grad_(), variances.requires_grad_())
            self.total = settle(self.local)

    def values(self) -> tuple[Tensor, Tensor]:
        """Mean and variance to normalise with."""
        return self.total.mean.detach(), self.total.var.detach()

    def backward(self, grad_means: Tensor, grad_variances: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the local statistics from those of `values`."""
        if self.total is self.local:
            return grad_means, grad_variances
        found = torch.autograd.grad(
            self.total, self.local, (grad_means, grad_variances), retain_graph=True, allow_unused=True
        )
        means, variances = (torch.zeros_like(grad) if grad is None else grad.contiguous() for grad in found)
        return means, variances


class _MergedDepthwise(torch.autograd.Function):
    """Two passes over memory forward (moments; convolution with ReLU), two backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, branches: UnitBranches, settle: Settle, relu: bool, *parameters: Tensor
    ) -> Tensor:
        x, stack, window = channels_last(x), branches.stacked(), branches.window
        shift, sums = moments_sums(x, window)
        mean, cov, means, variances = stack.depthwise_statistics(sums, shift, window.count(x.shape))
        settled = _Settled(means, variances, settle)
        # (T, C): the kernels walk blocks of channels, and find a tap of all of them side by side.
        scale, kernel, bias = stack.merge(*settled.values(), transposed=True)
        out = depthwise_convolution.convolution(x, kernel, bias, window, relu=relu)
        # Of activations only these two: where out is 0 the ReLU stopped the gradient, and no mask is needed.
        ctx.save_for_backward(x, out if relu else None)
        ctx.branches, ctx.settled, ctx.stack = branches, settled, stack
        ctx.small = (shift, mean, cov, scale, kernel)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, out), branches, stack = ctx.saved_tensors, ctx.branches, ctx.stack
        shift, mean, cov, scale, kernel = ctx.small
        window, grad = branches.window, channels_last(grad)
        # First pass: the gradient of the one kernel, of pixels less the shift, so that a large mean cancels
        # nothing.
        sums = depthwise_convolution.kernel_gradient(x, shift, grad, out, window)
        grad_kernel, grad_bias = stack.depthwise_gradient(sums, shift)
        # Then through kernel and bias to gains and statistics, and through `settle` to those of this batch.
        grad_gamma, *of_total = stack.merge_backward(*ctx.settled.values(), grad_kernel, grad_bias)
        of_local = ctx.settled.backward(*of_total)
        grad_weight, slopes, offsets = stack.depthwise_backward(
            mean, cov, shift, window.count(x.shape), grad_kernel, scale, *of_local
        )
        grad_x = None
        if ctx.needs_input_grad[0]:
            # Second pass: what the convolution and what the moments ask of x.
            grad_x = depthwise_convolution.input_gradient(
                x, shift, slopes, offsets, grad, out, kernel, window
            )
        return grad_x, None, None, None, *branches.split(grad_weight, grad_gamma, grad_bias.to(x.dtype))


class _MergedDense(torch.autograd.Function):
    """A pointwise convolution, or any of one group whose input wants no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, branches: UnitBranches, settle: Settle, relu: bool, *parameters: Tensor
    ) -> Tensor:
        stack, window = branches.stacked(), branches.window
        if window == Window():
            x = channels_last(x)
            mean, cov = gram(pixel_rows(x))
        else:
            (mean,), (cov,), _ = patch_moments(x.detach(), window)[1]
            mean, cov = mean.to(x.dtype), cov.to(x.dtype)  # a single channel's come in float64
        # W S serves three times: for W S Wᵀ here, and backward for the gradients of W and of S.
        product = multiply_rows(stack.weight.flatten(0, 1), cov).view_as(stack.weight)
        settled = _Settled(*stack.dense_statistics(product, mean, cov.diagonal().contiguous()), settle)
        scale, kernel, bias = stack.merge(*settled.values(), transposed=False)
        weight = kernel.view_as(branches.kernels[0])
        out = channels_last(F.conv2d(x, weight, bias, window.stride, window.padding, window.dilation))
        if relu:
            out.relu_()
        ctx.save_for_backward(x, out if relu else None)
        ctx.branches, ctx.settled, ctx.stack = branches, settled, stack
        ctx.small = (mean, product, scale, kernel)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, out), branches, stack = ctx.saved_tensors, ctx.branches, ctx.stack
        mean, product, scale, kernel = ctx.small
        window = branches.window
        grad, grad_bias = affine.behind_relu(channels_last(grad), out)
        if window == Window():
            grad_kernel = multiply_columns(pixel_rows(grad), pixel_rows(x))
        else:
            grad_kernel = conv2d_weight(  # type: ignore[no-untyped-call]
                x, branches.kernels[0].shape, grad, window.stride, window.padding, window.dilation
            ).flatten(1)
        grad_kernel = grad_kernel.contiguous()  # C takes addresses
        grad_gamma, *of_total = stack.merge_backward(*ctx.settled.values(), grad_kernel, grad_bias)
        of_local = ctx.settled.backward(*of_total)
        grad_weight, weighted = stack.dense_backward(product, mean, grad_kernel, scale, *of_local)
        grad_x = None
        if ctx.needs_input_grad[0]:
            of_mean, of_cov = _of_moments(stack, weighted, of_local, identity=branches.identity)
            grad_x = _pointwise_input_gradient(x, grad, kernel, mean, of_mean, of_cov)
        return grad_x, None, None, None, *branches.split(grad_weight, grad_gamma, grad_bias)


def _of_moments(
    stack: BranchStack, weighted: Tensor, of_local: tuple[Tensor, Tensor], *, identity: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of mean (C_in,) and, symmetric, of cov (C_in, C_in) of a pointwise convolution's input."""
    # E[z] = W m and Var[z] = diag(W S Wᵀ) of each branch, so Σ dE W and Wᵀ diag(dVar) W.
    rows = stack.weight.flatten(0, 1)
    of_mean = of_local[0][: len(stack.weight)].flatten() @ rows
    of_cov = symmetric_product(rows.T, weighted.flatten(0, 1))
    if identity:
        of_mean += of_local[0][-1]
        of_cov.diagonal().add_(of_local[1][-1])
    return of_mean, of_cov


def _pointwise_input_gradient(
    x: Tensor, grad: Tensor, kernel: Tensor, mean: Tensor, of_mean: Tensor, of_cov: Tensor
) -> Tensor:
    """grad · kernel, and (2 (x − mean) of_cov + of_mean) / M: (N, C_in, H, W).

    What the mean takes off is the same for every pixel: x needs no copy of its own, less the mean.
    """
    rows = pixel_rows(x)
    count = len(rows)
    slopes, offset = of_cov * (2 / count), of_mean / count
    to = multiply_rows(pixel_rows(grad), kernel, offset - mean @ slopes)
    add_product_(to, rows, slopes)
    (images, _, height, width) = x.shape
    return to.view(images, height, width, -1).permute(0, 3, 1, 2)
