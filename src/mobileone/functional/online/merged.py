"""A unit as one convolution from the moments of its patches, on the compiled CPU kernels.

The same function as moments.py, branch_statistics.py and the sum of branches compose, as one node of
autograd. Written out, its backward pass takes the ReLU, the convolution's gradient and that of the moments
together, and its small tensors cost a few calls instead of hundreds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from mobileone.functional.fold import embed_pointwise
from mobileone.functional.kernels import affine
from mobileone.functional.kernels import depthwise_convolution as depthwise
from mobileone.functional.kernels.branch_stack import MAX_TAPS, Fold, available
from mobileone.functional.online.branch_statistics import BranchStatistics
from mobileone.functional.online.moments import add_centred_product_, gram, patch_moments, symmetric_product
from mobileone.functional.window import Window

# From the statistics of this process's batch to those the branches normalise with, differentiably.
Settle = Callable[[BranchStatistics], BranchStatistics]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
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
        """All that there are, in a fixed order."""
        scale = [] if self.scale is None else [self.scale]
        return [*self.kernels, *scale, *(value for value in (*self.gains, *self.shifts) if value is not None)]

    def stacked(self) -> Fold:
        """Their stacks."""
        window = self.window
        kernels = [kernel.detach() for kernel in self.kernels]
        if self.scale is not None:
            kernels.append(embed_pointwise(self.scale.detach(), window.kernel))
        ones = kernels[0].new_ones(len(kernels[0]))
        gains = [ones if gain is None else gain.detach() for gain in self.gains]
        shifts = [ones * 0 if shift is None else shift.detach() for shift in self.shifts]
        eps = torch.tensor(self.eps, dtype=torch.float64)
        weight = torch.stack(kernels).flatten(2)
        return Fold(weight, torch.stack(gains), torch.stack(shifts), eps, window.num_taps)

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


def supports(x: Tensor, branches: Branches) -> bool:
    """Whether `merged_convolution` takes x: float32 or float64 on a CPU, with a C compiler, and not compiled.

    The convolution must be depthwise, or pointwise, or one whose input wants no gradient (a stem).
    """
    window, channels = branches.window, x.shape[1]
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not available(x.dtype):
        return False
    if any(parameter.dtype != x.dtype for parameter in branches.parameters()):
        return False
    if branches.groups > 1:
        one_to_one = branches.groups == channels == len(branches.kernels[0])
        return one_to_one and window.num_taps <= MAX_TAPS and depthwise.supports(x, window)
    return affine.supports(x) and (window == Window() or not x.requires_grad)


def merged_convolution(x: Tensor, branches: Branches, settle: Settle, *, relu: bool) -> Tensor:
    """The sum of all branches, each a convolution and a BatchNorm with the statistics that `settle` gives.

    Args:
        x: (N, C_in, H, W), such that `supports` says yes.
        branches: what to merge.
        settle: called once with the statistics of x's branches.
        relu: whether ReLU follows.

    Returns:
        (N, C_out, H', W'), channels_last.
    """
    function = _Depthwise if branches.groups > 1 else _Dense
    out: Tensor = function.apply(x, branches, settle, relu, *branches.parameters())  # type: ignore[no-untyped-call]
    return out


class _Settled:
    """Statistics before and after `settle`, and the way back."""

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


def _dense(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last)


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W), channels_last, as (N·H·W, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


class _Depthwise(torch.autograd.Function):
    """Two passes over memory forward (moments; convolution with ReLU), two backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, branches: Branches, settle: Settle, relu: bool, *parameters: Tensor
    ) -> Tensor:
        x, fold, window = _dense(x), branches.stacked(), branches.window
        shift, sums = depthwise.moments_sums(x, window)
        mean, cov, means, variances = fold.depthwise_statistics(sums, shift, window.count(x.shape))
        settled = _Settled(means, variances, settle)
        scale, kernel, bias = fold.merge(*settled.values(), transposed=True)
        out = depthwise.convolution(x, kernel, bias, window, relu=relu)
        ctx.save_for_backward(x, out if relu else None)
        ctx.branches, ctx.settled, ctx.fold = branches, settled, fold
        ctx.small = (shift, mean, cov, scale, kernel)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, out), branches, fold = ctx.saved_tensors, ctx.branches, ctx.fold
        shift, mean, cov, scale, kernel = ctx.small
        window, grad = branches.window, _dense(grad)
        sums = depthwise.kernel_gradient(x, shift, grad, out, window)
        grad_kernel, grad_bias = fold.depthwise_gradient(sums, shift)
        grad_gamma, *of_total = fold.merge_backward(*ctx.settled.values(), grad_kernel, grad_bias)
        of_local = ctx.settled.backward(*of_total)
        grad_weight, slopes, offsets = fold.depthwise_backward(
            mean, cov, shift, window.count(x.shape), grad_kernel, scale, *of_local
        )
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = depthwise.input_gradient(x, shift, slopes, offsets, grad, out, kernel, window)
        return grad_x, None, None, None, *branches.split(grad_weight, grad_gamma, grad_bias.to(x.dtype))


class _Dense(torch.autograd.Function):
    """A pointwise convolution, or any of one group whose input wants no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, branches: Branches, settle: Settle, relu: bool, *parameters: Tensor
    ) -> Tensor:
        fold, window = branches.stacked(), branches.window
        if window == Window():
            x = _dense(x)
            mean, cov = gram(_rows(x))
        else:
            (mean,), (cov,), _ = patch_moments(x.detach(), window)[1]
        product = (fold.weight.flatten(0, 1) @ cov).view_as(fold.weight)
        settled = _Settled(*fold.dense_statistics(product, mean, cov.diagonal().contiguous()), settle)
        scale, kernel, bias = fold.merge(*settled.values(), transposed=False)
        weight = kernel.view_as(branches.kernels[0])
        out = _dense(F.conv2d(x, weight, bias, window.stride, window.padding, window.dilation))
        if relu:
            out.relu_()
        ctx.save_for_backward(x, out if relu else None)
        ctx.branches, ctx.settled, ctx.fold = branches, settled, fold
        ctx.small = (mean, product, scale, kernel)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, out), branches, fold = ctx.saved_tensors, ctx.branches, ctx.fold
        mean, product, scale, kernel = ctx.small
        window = branches.window
        grad, grad_bias = affine.behind_relu(_dense(grad), out)
        if window == Window():
            grad_kernel = _rows(grad).T @ _rows(x)
        else:
            grad_kernel = conv2d_weight(  # type: ignore[no-untyped-call]
                x, branches.kernels[0].shape, grad, window.stride, window.padding, window.dilation
            ).flatten(1)
        grad_kernel = grad_kernel.contiguous()
        grad_gamma, *of_total = fold.merge_backward(*ctx.settled.values(), grad_kernel, grad_bias)
        of_local = ctx.settled.backward(*of_total)
        grad_weight, weighted = fold.dense_backward(product, mean, grad_kernel, scale, *of_local)
        grad_x = None
        if ctx.needs_input_grad[0]:
            of_mean, of_cov = _of_moments(fold, weighted, of_local, identity=branches.identity)
            grad_x = _pointwise_input_gradient(x, grad, kernel, mean, of_mean, of_cov)
        return grad_x, None, None, None, *branches.split(grad_weight, grad_gamma, grad_bias)


def _of_moments(
    fold: Fold, weighted: Tensor, of_local: tuple[Tensor, Tensor], *, identity: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of mean (C_in,) and, symmetric, of cov (C_in, C_in) of a pointwise convolution's input."""
    rows = fold.weight.flatten(0, 1)
    of_mean = of_local[0][: len(fold.weight)].flatten() @ rows
    of_cov = symmetric_product(rows.T, weighted.flatten(0, 1))
    if identity:
        of_mean += of_local[0][-1]
        of_cov.diagonal().add_(of_local[1][-1])
    return of_mean, of_cov


def _pointwise_input_gradient(
    x: Tensor, grad: Tensor, kernel: Tensor, mean: Tensor, of_mean: Tensor, of_cov: Tensor
) -> Tensor:
    """grad · kernel, and (2 (x − mean) of_cov + of_mean) / M: (N, C_in, H, W)."""
    rows = _rows(x)
    count = len(rows)
    slopes, offset = of_cov * (2 / count), of_mean / count
    grad_x = torch.empty_like(x)
    to = _rows(grad_x)
    torch.mm(_rows(grad), kernel, out=to)
    add_centred_product_(to, rows, mean, slopes, offset)
    return grad_x
