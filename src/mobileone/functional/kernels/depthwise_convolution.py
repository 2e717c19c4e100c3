"""Depthwise convolution with ReLU on a CPU and its gradients, those of the patches' moments included.

Over depthwise_convolution.c; activations are channels_last, float32 or float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mobileone.functional.kernels import native
from mobileone.functional.kernels.depthwise_geometry import DepthwiseShape, num_groups, tap_classes
from mobileone.functional.window import Window


def convolution(x: Tensor, kernel: Tensor, bias: Tensor, window: Window, *, relu: bool) -> Tensor:
    """Depthwise convolution, then ReLU if asked for.

    Args:
        x: (N, C, H, W), channels_last.
        kernel: (T, C).
        bias: (C,).
        window: geometry.
        relu: whether ReLU follows.
    """
    n, c, h, w = x.shape
    size = (n, c, *window.output_size(h, w))
    out = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
    args = (x, kernel, bias, out, int(relu), num_groups(x), DepthwiseShape.of(x, window))
    native.call("depthwise_convolution", "depthwise_convolution", x.dtype, *args)
    return out


def kernel_gradient(x: Tensor, shift: Tensor, grad: Tensor, out: Tensor | None, window: Window) -> Tensor:
    """Sums (groups, T + 1, C), float64, over outputs: g · (tap − shift) for each tap, and g.

    Args:
        x: input of the convolution, channels_last.
        shift: (C,).
        grad: gradient of its output, channels_last.
        out: that output if ReLU gave it: g is the gradient before the ReLU. None without.
        window: geometry.
    """
    groups = num_groups(x)
    sums = torch.zeros(groups, window.num_taps + 1, x.shape[1], dtype=torch.float64)
    args = (x, shift, grad, out, sums, groups, DepthwiseShape.of(x, window))
    native.call("depthwise_convolution", "depthwise_kernel_gradient", x.dtype, *args)
    return sums


def input_gradient(
    x: Tensor,
    shift: Tensor,
    slopes: Tensor,
    offsets: Tensor,
    grad: Tensor,
    out: Tensor | None,
    kernel: Tensor,
    window: Window,
) -> Tensor:
    """Gradient of x, by the convolution and by the moments of its patches: one pass.

    Args:
        x: input of the convolution, channels_last.
        shift: (C,).
        slopes: of the moments, (T, T, C); see `add_moments_gradient_`.
        offsets: (T, C).
        grad: gradient of the output, channels_last.
        out: the output if ReLU gave it.
        kernel: (T, C).
        window: geometry.
    """
    grad_x = torch.empty_like(x)
    _backward(grad_x, x, shift, slopes, offsets, window, grad, out, kernel)
    return grad_x


def add_moments_gradient_(
    grad_x: Tensor, x: Tensor, shift: Tensor, slopes: Tensor, offsets: Tensor, window: Window
) -> None:
    """grad_x += Σ over patches p that hold the pixel, as tap t, of offsets[t] + slopes[t] · (p − shift).

    Args:
        grad_x: (N, C, H, W), channels_last.
        x: the same shape and layout.
        shift: (C,).
        slopes: (T, T, C).
        offsets: (T, C).
        window: of the convolution.
    """
    _backward(grad_x, x, shift, slopes, offsets, window)


def _backward(
    grad_x: Tensor,
    x: Tensor,
    shift: Tensor,
    slopes: Tensor,
    offsets: Tensor,
    window: Window,
    grad: Tensor | None = None,
    out: Tensor | None = None,
    kernel: Tensor | None = None,
) -> None:
    """With `grad`, grad_x is written; without, there is no convolution, and it is added to."""
    rows, columns = (tap_classes(x.shape[2 + axis], axis, window) for axis in (0, 1))
    moments, convolution = (x, shift, slopes, offsets, *rows, *columns), (grad, out, kernel)
    args = (*moments, *convolution, grad_x, num_groups(x), DepthwiseShape.of(x, window))
    native.call("depthwise_convolution", "depthwise_backward", x.dtype, *args)
