"""A unit as one convolution on a GPU, one node of autograd: what merged.py is on a CPU.

Passes over activations are Triton's and, of pointwise units, cuBLAS's and cuDNN's products. The small tensors
between them (statistics of the branches, the one kernel and bias) are computed by branch_statistics.py and
branch_sum.py under a small graph of their own, for the backward pass needs its gradients midway: the
kernel's gradient first, from it those of statistics and moments, and only then x's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from mobileone.functional.first_order import first_order
from mobileone.functional.memory_layout import channels_last, pixel_rows
from mobileone.functional.online.moments import (
    CentredMoments,
    PatchMoments,
    gram,
    patch_moments,
    rounded_bias,
)
from mobileone.functional.window import Window

# From the moments of this batch's patches and the unit's parameters to its one kernel and bias, float32.
FindKernel = Callable[[PatchMoments, tuple[Tensor, ...]], tuple[Tensor, Tensor]]


class Patches(NamedTuple):
    """What a unit's convolution reads.

    Attributes:
        x: input, (N, C, H, W), channels_last, as all activations here are.
        window: which pixels of it are a patch.
        centre: (C,), float32 as all small tensors: what was subtracted from x before its moments were summed.
        mean: of the patches, (G, P).
    """

    x: Tensor
    window: Window
    centre: Tensor
    mean: Tensor


class OfOutput(NamedTuple):
    """What comes back from a unit's output.

    Attributes:
        grad: its gradient.
        out: the output itself if ReLU gave it, and `grad` is to be stopped where it is 0.
    """

    grad: Tensor
    out: Tensor | None


class UnitPasses(Protocol):
    """What walks activations."""

    def moments(self, x: Tensor, window: Window) -> CentredMoments:
        """A centre, mean (G, P) and cov (G, P, P) of the patches of x."""

    def convolution(self, patches: Patches, kernel: Tensor, bias: Tensor, *, relu: bool) -> Tensor:
        """kernel ∗ x + bias, and ReLU."""

    def kernel_gradient(
        self, patches: Patches, kernel: Tensor, given: OfOutput
    ) -> tuple[Tensor, Tensor, OfOutput]:
        """Gradients of kernel and bias, and what `input_gradient` is to be given."""

    def input_gradient(
        self, patches: Patches, kernel: Tensor, slopes: tuple[Tensor, Tensor], given: OfOutput
    ) -> Tensor:
        """By the convolution, and slope (p − mean) + offset of each patch p; slopes: these two."""


class DepthwisePasses:
    """A depthwise 3×3 convolution: two passes forward (moments; convolution, bias and ReLU), two backward."""

    def moments(self, x: Tensor, window: Window) -> CentredMoments:
        """By lags or products."""
        from mobileone.functional.kernels import depthwise_moments_triton

        return depthwise_moments_triton.depthwise_moments(x, window)

    def convolution(self, patches: Patches, kernel: Tensor, bias: Tensor, *, relu: bool) -> Tensor:
        """The kernel stays in float32: nothing is rounded but the result."""
        from mobileone.functional.kernels import depthwise_convolution_triton

        x, window, _, _ = patches
        return depthwise_convolution_triton.convolution(x, _by_tap(kernel), bias, window, relu=relu)

    def kernel_gradient(
        self, patches: Patches, kernel: Tensor, given: OfOutput
    ) -> tuple[Tensor, Tensor, OfOutput]:
        """Of pixels less the centre, so that a large mean cancels nothing."""
        from mobileone.functional.kernels import depthwise_convolution_triton

        x, window, centre, _ = patches
        sums = depthwise_convolution_triton.kernel_gradient(x, centre, *given, window)
        of_kernel = torch.addcmul(sums[:-1], sums[-1], centre)
        return of_kernel.T.reshape(kernel.shape), sums[-1], given

    def input_gradient(
        self, patches: Patches, kernel: Tensor, slopes: tuple[Tensor, Tensor], given: OfOutput
    ) -> Tensor:
        """Convolution, ReLU and the moments' stencil in one pass."""
        from mobileone.functional.kernels import depthwise_backward_triton

        (x, window, centre, mean), (slope, offset) = patches, slopes
        offset = offset - (slope @ (mean - centre.unsqueeze(1)).unsqueeze(2)).squeeze(2)
        small = (slope.flatten(1).T.contiguous(), offset.T.contiguous())
        return depthwise_backward_triton.input_gradient(x, centre, *small, *given, _by_tap(kernel), window)


class DensePasses:
    """A convolution of one group: pointwise, or any whose input wants no gradient, as the stem's."""

    def moments(self, x: Tensor, window: Window) -> CentredMoments:
        """One Gram product, of pixels or, a few images at a time, of unfolded patches."""
        if window != Window():
            _, (mean, cov, _) = patch_moments(x.detach(), window)
            return mean, mean, cov
        mean, cov = gram(pixel_rows(x))
        return mean, mean.unsqueeze(0), cov.unsqueeze(0)

    def convolution(self, patches: Patches, kernel: Tensor, bias: Tensor, *, relu: bool) -> Tensor:
        """The product with the rounded kernel; bias and ReLU in one pass, the bias in float32."""
        from mobileone.functional.kernels import affine_triton

        x, window, _, mean = patches
        rounded = kernel.to(x.dtype)
        out = F.conv2d(x, rounded, None, window.stride, window.padding, window.dilation)
        bias = rounded_bias(bias, kernel, rounded, mean)
        return affine_triton.add_bias_relu_(out, bias, relu=relu)

    def kernel_gradient(
        self, patches: Patches, kernel: Tensor, given: OfOutput
    ) -> tuple[Tensor, Tensor, OfOutput]:
        """One product, of the gradient behind the ReLU, which is written for the next."""
        from mobileone.functional.kernels import affine_triton

        x, window, _, _ = patches
        grad, of_bias = affine_triton.behind_relu(*given)
        if window == Window():
            of_kernel = (pixel_rows(grad).T @ pixel_rows(x)).view(kernel.shape)
        else:
            of_kernel = conv2d_weight(  # type: ignore[no-untyped-call]
                x, kernel.shape, grad, window.stride, window.padding, window.dilation
            )
        return of_kernel.float(), of_bias, OfOutput(grad, None)

    def input_gradient(
        self, patches: Patches, kernel: Tensor, slopes: tuple[Tensor, Tensor], given: OfOutput
    ) -> Tensor:
        """Two products, the second onto the first. The constant is that of the rounded slopes."""
        (x, _, _, mean), (slope, offset) = patches, slopes
        slope = slope[0].to(x.dtype)
        constant = (offset - mean @ slope.float()).flatten().to(x.dtype)
        grad_x = torch.empty_like(x)
        to = pixel_rows(grad_x)  # a view: grad_x is channels_last as x is
        torch.addmm(constant, pixel_rows(given.grad), kernel.flatten(1).to(x.dtype), out=to)
        to.addmm_(pixel_rows(x), slope)
        return grad_x


def _by_tap(kernel: Tensor) -> Tensor:
    """(C, 1, 3, 3) as (9, C): a tap of all channels side by side."""
    return kernel.flatten(1).T.contiguous()


def fused_unit(
    x: Tensor,
    window: Window,
    find_kernel: FindKernel,
    parameters: tuple[Tensor, ...],
    passes: UnitPasses,
    *,
    relu: bool,
) -> Tensor:
    """Convolve x with the kernel and bias that `find_kernel` makes of its patches' moments, then ReLU.

    Args:
        x: (N, C, H, W), float32, bfloat16 or float16.
        window: geometry of the convolution.
        find_kernel: called once, with the moments and `parameters`.
        parameters: what the kernel depends on beside the moments, and gradients are wanted of.
        passes: `DepthwisePasses` or `DensePasses`.
        relu: whether ReLU follows.

    Returns:
        (N, C_out, H', W'), channels_last, of the dtype of x.
    """
    out: Tensor = _FusedUnit.apply(  # type: ignore[no-untyped-call]
        x, window, find_kernel, passes, relu, *parameters
    )
    return out


class _FusedUnit(torch.autograd.Function):
    """Of activations it saves x and, with ReLU, the output: where that is 0 the ReLU stopped the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        window: Window,
        find_kernel: FindKernel,
        passes: UnitPasses,
        relu: bool,
        *parameters: Tensor,
    ) -> Tensor:
        """See `fused_unit`."""
        x = channels_last(x)
        centre, mean, cov = passes.moments(x, window)
        with torch.enable_grad():
            moments = PatchMoments(mean.requires_grad_(), cov.requires_grad_(), window.count(x.shape))
            leaves = tuple(p.detach().requires_grad_(p.requires_grad) for p in parameters)
            merged = find_kernel(moments, leaves)
        kernel, bias = (value.detach() for value in merged)
        out = passes.convolution(Patches(x, window, centre, mean.detach()), kernel, bias, relu=relu)
        ctx.save_for_backward(x, out if relu else None)
        ctx.window, ctx.passes = window, passes
        ctx.small = (centre.detach(), moments, leaves, merged)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and the parameters."""
        (x, out), window, passes = ctx.saved_tensors, ctx.window, ctx.passes
        centre, moments, leaves, merged = ctx.small
        kernel, patches = merged[0].detach(), Patches(x, window, centre, moments.mean.detach())
        given = OfOutput(channels_last(grad), out)
        of_kernel, of_bias, given = passes.kernel_gradient(patches, kernel, given)
        wanted = [moments.mean, moments.cov, *(leaf for leaf in leaves if leaf.requires_grad)]
        found = torch.autograd.grad(
            merged, wanted, (of_kernel, of_bias), retain_graph=True, allow_unused=True
        )
        grads = dict(zip(map(id, wanted), found, strict=True))
        grad_x = None
        if ctx.needs_input_grad[0]:
            of_mean, of_cov = (
                torch.zeros_like(value) if grads[id(value)] is None else grads[id(value)]
                for value in moments[:2]
            )
            slopes = ((of_cov + of_cov.mT) / moments.num, of_mean / moments.num)
            grad_x = passes.input_gradient(patches, kernel, slopes, given)
        return grad_x, None, None, None, None, *(grads.get(id(leaf)) for leaf in leaves)
