"""relu(a (y − m) + c (x − k) + b) per channel on a GPU, forward and backward, by Triton: as affine.py."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mobileone.functional.kernels.affine import AffineOfTwo
from mobileone.functional.kernels.depthwise_tiles import launch, programs_for_sums, tiles_of
from mobileone.functional.memory_layout import channels_last

ROWS = 16


@triton.jit
def _vector(of, c, channels):
    """(1, channels) of a vector a channel."""
    return tl.load(of + c, mask=c < channels, other=0.0)[None, :]


@triton.jit
def _behind_relu(grad, out, at, mask, relu: tl.constexpr):
    value = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32)
    if relu:
        value = tl.where(tl.load(out + at, mask=mask, other=0.0) <= 0, 0.0, value)  # NaN passes
    return value


@triton.jit
def _affine_kernel(
    y, mean_y, a, x, mean_x, c_x, b, out, rows, channels,
    two: tl.constexpr, relu: tl.constexpr, block_rows: tl.constexpr, block_channels: tl.constexpr,
):  # fmt: skip
    """The result itself."""
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    row = tl.program_id(0).to(tl.int64) * block_rows + tl.arange(0, block_rows)
    at, mask = row[:, None] * channels + c[None, :], (row < rows)[:, None] & (c < channels)[None, :]
    value = tl.load(y + at, mask=mask, other=0.0).to(tl.float32) - _vector(mean_y, c, channels)
    value = value * _vector(a, c, channels) + _vector(b, c, channels)
    if two:
        other = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - _vector(mean_x, c, channels)
        value = value + other * _vector(c_x, c, channels)
    if relu:
        value = tl.where(value < 0, 0.0, value)  # NaN stays NaN
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _sums_kernel(
    y, mean_y, x, mean_x, grad, out, sums, rows, channels,
    two: tl.constexpr, relu: tl.constexpr, block_rows: tl.constexpr, block_channels: tl.constexpr,
):  # fmt: skip
    """With g the gradient behind the ReLU, sums of g, g (y − m) and g (x − k): (programs, 3, channels)."""
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    first, second = _vector(mean_y, c, channels), _vector(mean_x, c, channels)
    of_b = tl.zeros((block_rows, block_channels), tl.float32)
    of_a, of_c = of_b, of_b
    for tile in range(tl.program_id(0), tl.cdiv(rows, block_rows), tl.num_programs(0)):
        row = (tile * block_rows + tl.arange(0, block_rows)).to(tl.int64)
        at, mask = row[:, None] * channels + c[None, :], (row < rows)[:, None] & (c < channels)[None, :]
        g = _behind_relu(grad, out, at, mask, relu)
        of_b += g
        of_a += g * (tl.load(y + at, mask=mask, other=0.0).to(tl.float32) - first)
        if two:
            of_c += g * (tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - second)
    to = sums + tl.program_id(0) * 3 * channels + c
    tl.store(to, tl.sum(of_b, axis=0), mask=c < channels)
    tl.store(to + channels, tl.sum(of_a, axis=0), mask=c < channels)
    tl.store(to + 2 * channels, tl.sum(of_c, axis=0), mask=c < channels)


@triton.jit
def _moments_kernel(x, shift, sums, rows, channels, block_rows: tl.constexpr, block_channels: tl.constexpr):
    """Sums of x − shift and of its square: (programs, 2, channels)."""
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    centre = _vector(shift, c, channels)
    first = tl.zeros((block_rows, block_channels), tl.float32)
    second = first
    for tile in range(tl.program_id(0), tl.cdiv(rows, block_rows), tl.num_programs(0)):
        row = (tile * block_rows + tl.arange(0, block_rows)).to(tl.int64)
        at, mask = row[:, None] * channels + c[None, :], (row < rows)[:, None] & (c < channels)[None, :]
        value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - centre
        value = tl.where(mask, value, 0.0)
        first += value
        second += value * value
    to = sums + tl.program_id(0) * 2 * channels + c
    tl.store(to, tl.sum(first, axis=0), mask=c < channels)
    tl.store(to + channels, tl.sum(second, axis=0), mask=c < channels)


@triton.jit
def _backward_kernel(
    grad, out, y, mean_y, a, slope_y, offset_y, to_y, x, mean_x, c_x, slope_x, offset_x, to_x, rows, channels,
    two: tl.constexpr, relu: tl.constexpr, add: tl.constexpr,
    block_rows: tl.constexpr, block_channels: tl.constexpr,
):  # fmt: skip
    """a g + slope (y − m) + offset, written or added; with `two` the same of x, in one pass."""
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    row = tl.program_id(0).to(tl.int64) * block_rows + tl.arange(0, block_rows)
    at, mask = row[:, None] * channels + c[None, :], (row < rows)[:, None] & (c < channels)[None, :]
    g = _behind_relu(grad, out, at, mask, relu)
    value = tl.load(y + at, mask=mask, other=0.0).to(tl.float32) - _vector(mean_y, c, channels)
    value = (
        _vector(a, c, channels) * g + _vector(slope_y, c, channels) * value + _vector(offset_y, c, channels)
    )
    if add:
        value += tl.load(to_y + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(to_y + at, value.to(to_y.dtype.element_ty), mask=mask)
    if two:
        value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - _vector(mean_x, c, channels)
        value = _vector(c_x, c, channels) * g + _vector(slope_x, c, channels) * value
        value += _vector(offset_x, c, channels)
        tl.store(to_x + at, value.to(to_x.dtype.element_ty), mask=mask)


def _run(kernel: Any, of: Tensor, *tensors: Tensor, programs: int | None = None, **flags: bool) -> None:
    """Over the pixels of an activation `of`, as rows of channels."""
    channels, cut = of.shape[1], tiles_of(of.shape[1])
    rows = of.numel() // channels
    grid = (-(-rows // ROWS) if programs is None else programs, cut.blocks)
    blocks = {"block_rows": ROWS, "block_channels": cut.channels}
    launch(kernel, grid, of, *tensors, rows, channels, warps=cut.warps, **blocks, **flags)


def _partial_sums(of: Tensor, number: int) -> Tensor:
    channels = of.shape[1]
    programs = programs_for_sums(-(-of.numel() // channels // ROWS), tiles_of(channels).blocks)
    return torch.empty(programs, number, channels, dtype=torch.float32, device=of.device)


class TritonAffineOfTwo(AffineOfTwo):
    """`AffineOfTwo` on a GPU: activations float32, bfloat16 or float16, all else float32."""

    __slots__ = ()

    def _second(self) -> tuple[Tensor, Tensor, Tensor]:
        """x, its mean and its factor; what is not there is not read, but a launch wants a pointer."""
        if self.x is None or self.mean_x is None or self.c is None:
            return self.y, self.mean_y, self.a
        return self.x, self.mean_x, self.c

    def forward(self) -> Tensor:
        """The result, shaped and laid out as y."""
        out = torch.empty_like(self.y)
        x, mean_x, c = self._second()
        args = (self.y, self.mean_y, self.a, x, mean_x, c, self.b, out)
        _run(_affine_kernel, self.y, *args, two=self.x is not None, relu=self.relu)
        return out

    def sums(self, grad: Tensor, out: Tensor) -> Tensor:
        """Gradients of b, a and c: (3, C), float32."""
        sums = _partial_sums(self.y, 3)
        x, mean_x, _ = self._second()
        args, flags = (self.y, self.mean_y, x, mean_x, grad, out, sums), {"two": self.x is not None}
        _run(_sums_kernel, self.y, *args, programs=len(sums), relu=self.relu, **flags)
        return sums.sum(0)

    def backward(
        self,
        grad: Tensor,
        out: Tensor,
        of: Tensor,
        mean: Tensor,
        scale: Tensor,
        slopes: tuple[Tensor, Tensor],
        *,
        onto: Tensor | None = None,
    ) -> Tensor:
        """scale · g + slope · (of − mean) + offset; see `AffineOfTwo.backward`."""
        to = torch.empty_like(of) if onto is None else onto
        first = (of, mean.detach(), scale.detach(), *slopes, to)
        _run(_backward_kernel, of, grad, out, *first, *first, two=False, relu=self.relu, add=onto is not None)
        return to

    def backward_both(
        self, grad: Tensor, out: Tensor, of_y: tuple[Tensor, Tensor], of_x: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Gradients of y and of x in one pass; see `AffineOfTwo.backward_both`."""
        x, mean_x, c = self._second()
        found = torch.empty_like(self.y), torch.empty_like(x)
        first = (self.y, self.mean_y, self.a, *of_y, found[0])
        second = (x, mean_x, c, *of_x, found[1])
        _run(_backward_kernel, self.y, grad, out, *first, *second, two=True, relu=self.relu, add=False)
        return found


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, (C,) each, float32, in one pass.

    Args:
        x: (N, C, H, W), channels_last.
    """
    shift = x[0].mean((1, 2), dtype=torch.float32)
    sums = _partial_sums(x, 2)
    _run(_moments_kernel, x, x, shift, sums, programs=len(sums))
    first, second = sums.sum(0) / (x.numel() // x.shape[1])
    return first + shift, (second - first.square()).clamp_(min=0)


def add_bias_relu_(y: Tensor, bias: Tensor, *, relu: bool) -> Tensor:
    """y + bias, then ReLU if asked for, in place; the bias (C,) float32, whatever y is.

    Args:
        y: (N, C, H, W).
        bias: (C,).
        relu: whether ReLU follows.

    Returns:
        y, or a channels_last copy where it is laid out otherwise.
    """
    y = channels_last(y)
    one, zero = torch.ones_like(bias), torch.zeros_like(bias)
    _run(_affine_kernel, y, y, zero, one, y, zero, one, bias, y, two=False, relu=relu)
    return y


def behind_relu(grad: Tensor, out: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gradient behind a ReLU, and its sum over all but the channels, (C,), float32.

    Args:
        grad: of the ReLU's result, (N, C, H, W), channels_last.
        out: that result; None if there was no ReLU.
    """
    if out is None:
        return grad, grad.sum((0, 2, 3), dtype=torch.float32)
    to, sums = torch.empty_like(grad), _partial_sums(grad, 1)
    _run(_behind_relu_kernel, grad, grad, out, to, sums, programs=len(sums))
    return to, sums.sum((0, 1))


@triton.jit
def _behind_relu_kernel(
    grad, out, to, sums, rows, channels, block_rows: tl.constexpr, block_channels: tl.constexpr
):
    """The gradient behind the ReLU, and its sums: (programs, 1, channels)."""
    c = tl.program_id(1) * block_channels + tl.arange(0, block_channels)
    total = tl.zeros((block_rows, block_channels), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(rows, block_rows), tl.num_programs(0)):
        row = (tile * block_rows + tl.arange(0, block_rows)).to(tl.int64)
        at, mask = row[:, None] * channels + c[None, :], (row < rows)[:, None] & (c < channels)[None, :]
        g = _behind_relu(grad, out, at, mask, True)
        total += g
        tl.store(to + at, g.to(to.dtype.element_ty), mask=mask)
    tl.store(sums + tl.program_id(0) * channels + c, tl.sum(total, axis=0), mask=c < channels)
