"""A unit with one convolution branch: y = W ∗ x once, statistics of y and x, one affine map of the two.

With k = 1 a Gram product costs more than it saves: BatchNorm needs only the mean and variance of y itself,
and the scale and identity branches only those of x. What is left is a (y − m) + c (x − k) + b, then ReLU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.functional.first_order import first_order
from mobileone.functional.kernels import affine
from mobileone.functional.kernels.affine import AffineOfTwo
from mobileone.functional.memory_layout import channels_last, pixel_rows
from mobileone.functional.online.moments import accumulation_dtype
from mobileone.functional.window import Window, subsample


class ChannelMoments(NamedTuple):
    """Mean and biased variance of a tensor's channels, each (C,)."""

    mean: Tensor
    var: Tensor


class AffineFactors(NamedTuple):
    """Of a (y − mean(y)) + c (x − mean(x)) + b, with the means of these very tensors.

    Attributes:
        a: (C,).
        c: (C,), None without x.
        b: (C,).
    """

    a: Tensor
    c: Tensor | None
    b: Tensor


class AffineKernels(NamedTuple):
    """What walks activations.

    Attributes:
        operands: the affine map, there and back.
        channel_moments: mean and biased variance of a tensor's channels.
    """

    operands: type[AffineOfTwo]
    channel_moments: Callable[[Tensor], tuple[Tensor, Tensor]]


# From the moments of y, those of x (None if it is not wanted) and parameters to the factors, differentiably.
FindFactors = Callable[[ChannelMoments, ChannelMoments | None, tuple[Tensor, ...]], AffineFactors]


def normalized_convolution(
    x: Tensor,
    weight: Tensor,
    window: Window,
    find_factors: FindFactors,
    parameters: tuple[Tensor, ...],
    *,
    groups: int,
    uses_input: bool,
    relu: bool,
) -> Tensor:
    """Convolve x with `weight`, then the affine map that `find_factors` makes of the statistics.

    By C on a CPU, by Triton elsewhere.

    Args:
        x: (N, C_in, H, W), such that the table has "normalized" or "normalized_triton" for it.
        weight: (C_out, C_in / groups, kh, kw), of the dtype of x.
        window: geometry of the convolution.
        find_factors: gives the factors; called once, with `parameters`.
        parameters: what else the factors depend on and gradients are wanted of.
        groups: channel groups.
        uses_input: whether x, at the pixels under the kernel's centre, is the second operand; it then has
            as many channels and pixels as the output.
        relu: whether ReLU follows.

    Returns:
        (N, C_out, H', W'), channels_last.
    """
    out: Tensor = _NormalizedConvolution.apply(  # type: ignore[no-untyped-call]
        x, weight, window, groups, find_factors, uses_input, relu, affine_kernels(x.device), *parameters
    )
    return out


def affine_kernels(device: torch.device) -> AffineKernels:
    """Those of a device: C on a CPU, Triton elsewhere."""
    if device.type == "cpu":
        return AffineKernels(AffineOfTwo, affine.channel_moments)
    from mobileone.functional.kernels import affine_triton

    return AffineKernels(affine_triton.TritonAffineOfTwo, affine_triton.channel_moments)


def normalized_convolution_torch(
    x: Tensor,
    weight: Tensor,
    window: Window,
    find_factors: FindFactors,
    parameters: tuple[Tensor, ...],
    *,
    groups: int,
    uses_input: bool,
    relu: bool,
) -> Tensor:
    """`normalized_convolution` in plain torch, for any dtype and device, in the layout that x has."""
    y = F.conv2d(x, weight, None, window.stride, window.padding, window.dilation, groups)
    dtype = accumulation_dtype(y.dtype)
    of_y, seen, of_x = _var_mean(y.to(dtype)), None, None
    if uses_input:
        seen = subsample(x, window.stride).to(dtype)
        of_x = _var_mean(seen)
    factors = find_factors(of_y, of_x, parameters)
    total = _affine(y.to(dtype), of_y.mean.detach(), factors.a) + factors.b.view(1, -1, 1, 1)
    if seen is not None and of_x is not None and factors.c is not None:
        total = total + _affine(seen, of_x.mean.detach(), factors.c)
    total = total.to(y.dtype)
    return total.relu_() if relu else total


def _var_mean(value: Tensor) -> ChannelMoments:
    var, mean = torch.var_mean(value, (0, 2, 3), correction=0)
    return ChannelMoments(mean, var)


def _affine(value: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    return (value - mean.view(1, -1, 1, 1)) * factor.view(1, -1, 1, 1)


class _NormalizedConvolution(torch.autograd.Function):
    """It saves x, y and the output, and walks them twice backward.

    `find_factors` runs inside, under a graph of its own, because the backward pass needs its gradients
    midway.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        window: Window,
        groups: int,
        find_factors: FindFactors,
        uses_input: bool,
        relu: bool,
        kernels: AffineKernels,
        *parameters: Tensor,
    ) -> Tensor:
        """See `normalized_convolution`."""
        x = channels_last(x)
        y = channels_last(F.conv2d(x, weight, None, window.stride, window.padding, window.dilation, groups))
        seen = channels_last(subsample(x, window.stride)) if uses_input else None
        with torch.enable_grad():
            find = kernels.channel_moments
            of_y, of_x = _leaf_moments(y, find), None if seen is None else _leaf_moments(seen, find)
            leaves = tuple(p.detach().requires_grad_(p.requires_grad) for p in parameters)
            factors = find_factors(of_y, of_x, leaves)
        out = _operands(kernels, y, seen, of_y, of_x, factors, relu).forward()
        # Without ReLU the output is not read again, and may be changed in place by what follows.
        ctx.save_for_backward(x, weight, y, out if relu else y)
        ctx.window, ctx.groups, ctx.relu, ctx.kernels = window, groups, relu, kernels
        ctx.small = (of_y, of_x, leaves, factors)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and parameters."""
        x, weight, y, out = ctx.saved_tensors
        of_y, of_x, leaves, factors = ctx.small
        window, (needs_x, needs_weight), nothing = ctx.window, ctx.needs_input_grad[:2], (None,) * 6
        grad, seen = (
            channels_last(grad),
            None if of_x is None else channels_last(subsample(x, ctx.window.stride)),
        )
        operands = _operands(ctx.kernels, y, seen, of_y, of_x, factors, ctx.relu)
        db, da, dc = operands.sums(grad, out).to(of_y.mean.dtype)
        pairs = [
            (f, d) for f, d in zip(factors, (da, dc, db), strict=True) if f is not None and f.requires_grad
        ]
        wanted = [t for group in (of_y, of_x or (), leaves) for t in group if t.requires_grad]
        small = _small_gradients(pairs, wanted)

        def slopes(value: Tensor, moments: ChannelMoments) -> tuple[Tensor, Tensor]:
            """d mean = 1 / M and d var = 2 (value − mean) / M for each of the M values."""
            slope, offset = small.get(id(moments.var)), small.get(id(moments.mean))
            zero, count = torch.zeros_like(moments.mean), value.numel() // value.shape[1]
            return (
                zero if slope is None else slope * (2 / count),
                zero if offset is None else offset / count,
            )

        of_input = None if seen is None or not needs_x else slopes(seen, of_x)
        direct = None  # what x gets from being the second operand, where one pass gives it too
        if of_input is not None and window == Window() and ctx.groups == 1:
            grad_y, direct = operands.backward_both(grad, out, slopes(y, of_y), of_input)
        else:
            grad_y = operands.backward(grad, out, y, of_y.mean, factors.a, slopes(y, of_y))
        if direct is not None and x.device.type != "cpu":
            # cuBLAS adds onto it; on a CPU oneDNN's convolution and a sum are faster than MKL's product.
            pixel_rows(direct).addmm_(pixel_rows(grad_y), weight.flatten(1))
            grad_weight = (pixel_rows(grad_y).T @ pixel_rows(x)).view_as(weight) if needs_weight else None
            return direct, grad_weight, *nothing, *(small.get(id(leaf)) for leaf in leaves)
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad_y,
            x,
            weight,
            None,
            window.stride,
            window.padding,
            window.dilation,
            False,
            [0, 0],
            ctx.groups,
            [needs_x, needs_weight, False],
        )
        if direct is not None:
            grad_x = direct.add_(grad_x)
        elif seen is not None and of_input is not None:
            grad_x = channels_last(grad_x)
            args = (seen, of_x.mean, factors.c, of_input)
            if seen.shape == grad_x.shape:
                operands.backward(grad, out, *args, onto=grad_x)
            else:
                subsample(grad_x, window.stride).add_(operands.backward(grad, out, *args))
        return grad_x, grad_weight, *nothing, *(small.get(id(leaf)) for leaf in leaves)


def _small_gradients(pairs: list[tuple[Tensor, Tensor]], wanted: list[Tensor]) -> dict[int, Tensor]:
    """Gradients of `wanted` by identity, from outputs and theirs; none where all BatchNorms are frozen."""
    if not pairs or not wanted:
        return {}
    outputs, given = zip(*pairs, strict=True)
    found = torch.autograd.grad(outputs, wanted, given, retain_graph=True, allow_unused=True)
    return {id(t): g for t, g in zip(wanted, found, strict=True) if g is not None}


def _leaf_moments(value: Tensor, find: Callable[[Tensor], tuple[Tensor, Tensor]]) -> ChannelMoments:
    mean, var = find(value.detach())
    return ChannelMoments(mean.requires_grad_(), var.requires_grad_())


def _operands(
    kernels: AffineKernels,
    y: Tensor,
    seen: Tensor | None,
    of_y: ChannelMoments,
    of_x: ChannelMoments | None,
    factors: AffineFactors,
    relu: bool,
) -> AffineOfTwo:
    return kernels.operands(
        y,
        of_y.mean.detach(),
        factors.a.detach(),
        factors.b.detach(),
        x=seen,
        mean_x=None if of_x is None else of_x.mean.detach(),
        c=None if factors.c is None else factors.c.detach(),
        relu=relu,
    )
