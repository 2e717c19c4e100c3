"""First and second moments of the patches a convolution reads: what online re-parameterisation needs of x.

A patch is what one output of a convolution sees: P = C_in / groups · kh · kw values for each channel group,
in the order of the kernel's own elements. With m = E[patch] and S = Cov[patch] over the batch and all output
positions, every convolution of x with kernel W has mean W m and variance diag(W S Wᵀ), exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.functional.first_order import first_order
from mobileone.functional.kernels.depthwise_moments import depthwise_moments, depthwise_moments_backward_
from mobileone.functional.memory_layout import channels_last, pixel_rows
from mobileone.functional.online.kernel_table import MomentsKernel, moments_kernel
from mobileone.functional.row_products import (
    NUM_IMAGES,
    multiplies_by_convolution,
    multiply_columns,
    multiply_rows,
)
from mobileone.functional.window import Window

# Most elements of unfolded patches to hold at a time in the general path: a cache's worth on a CPU.
MAX_COLUMNS = {"cpu": 1 << 18, "cuda": 1 << 26}
# Elements of a piece of x in the pointwise path on a CPU: 4 MB in float32, so that it stays in the cache.
CHUNK = 1 << 20
HAS_OUT_DTYPE = "dtype" in torch.ops.aten.bmm.overloads()  # type: ignore[no-untyped-call]  # from torch 2.8 on
# Rows whose products a GPU adds up in one go in float32: the error of a sum grows with its length.
HALF_ROWS = 1 << 15
# Size of a symmetric product from which it pays to leave a quarter out.
MIN_SYMMETRIC = 64


class PatchMoments(NamedTuple):
    """Moments of patches, per channel group.

    Attributes:
        mean: (G, P).
        cov: covariance, biased (divided by num), (G, P, P).
        num: number of patches M: batch · output height · output width.
    """

    mean: Tensor
    cov: Tensor
    num: int


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """What sums over activations of that dtype are held in: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def reference_moments(x: Tensor, window: Window, *, groups: int = 1) -> PatchMoments:
    """The definition, by unfolding x: slow and hungry, for checking the others against.

    Args:
        x: (N, C, H, W).
        window: kernel size, stride, padding and dilation of the convolution.
        groups: its channel groups.

    >>> moments = reference_moments(torch.tensor([[[[1.0, 3.0]]]]), Window())
    >>> moments.mean.item(), moments.cov.item(), moments.num
    (2.0, 1.0, 2)
    """
    columns = _columns(x.to(accumulation_dtype(x.dtype)), window, groups)
    mean = columns.mean(-1)
    centred = columns - mean.unsqueeze(-1)
    return PatchMoments(mean, centred @ centred.mT / columns.shape[-1], columns.shape[-1])


def patch_moments(x: Tensor, window: Window, *, groups: int = 1) -> tuple[Tensor, PatchMoments]:
    """Moments of the patches of x, by the kernel that the table has for the shape and device.

    Args:
        x: (N, C, H, W), floating point.
        window: kernel size, stride, padding and dilation of the convolution.
        groups: its channel groups.

    Returns:
        x again, to be used in its place, and the moments, in float32 or float64. The backward pass of the
        moments adds its part to the gradient of the returned x, in place where it can: it costs no pass of
        its own. So give the returned x to one convolution and to nothing else.

    >>> x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    >>> window = Window((3, 3), padding=(1, 1))
    >>> fast, slow = patch_moments(x, window, groups=4)[1], reference_moments(x, window, groups=4)
    >>> torch.allclose(fast.cov, slow.cov)
    True
    """
    kernel = moments_kernel(x, window, groups=groups)
    x, mean, cov = _PatchMoments.apply(x, window, groups, kernel)  # type: ignore[no-untyped-call]
    return x, PatchMoments(mean, cov, window.count(x.shape))


def _columns(x: Tensor, window: Window, groups: int) -> Tensor:
    """All patches, (G, P, M)."""
    columns = F.unfold(x, window.kernel, window.dilation, window.padding, window.stride)
    n, rows, positions = columns.shape
    grouped = columns.reshape(n, groups, rows // groups, positions)
    return grouped.permute(1, 2, 0, 3).reshape(groups, rows // groups, n * positions)


def _chunks(rows: Tensor) -> tuple[Tensor, ...]:
    """Pieces of (M, C) that stay in a CPU's cache; on other devices, and to a compiler, the whole."""
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return (rows,)
    return torch.split(rows, max(1, CHUNK // rows.shape[1] // NUM_IMAGES) * NUM_IMAGES)


def symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, known to be symmetric: where it is large three quarters of the product, if by matrices.

    Args:
        left: (P, R).
        right: (R, P).

    >>> x = torch.randn(5, 70)
    >>> torch.allclose(symmetric_product(x.T, x), x.T @ x, atol=1e-5)
    True
    """
    size = left.shape[0]
    if multiplies_by_convolution(right, size):
        return multiply_columns(left.T, right)
    # A compiler cannot follow products into parts of a tensor.
    if size < MIN_SYMMETRIC or left.device.type != "cpu" or torch.compiler.is_compiling():
        return left @ right
    half = size // 2
    out = left.new_empty(size, size)
    torch.mm(left[:half], right, out=out[:half])
    torch.mm(left[half:], right[:, half:], out=out[half:, half:])
    out[half:, :half] = out[:half, half:].T
    return out


def gram(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C,) and covariance (C, C) of rows (M, C), in float32 at least.

    Half precision on a GPU is multiplied as it is (`half_gram`); else rows are centred first.

    >>> mean, cov = gram(torch.tensor([[1.0], [3.0]]))
    >>> mean.item(), cov.item()
    (2.0, 1.0)
    """
    mean = rows.mean(0, dtype=accumulation_dtype(rows.dtype))
    if rows.device.type == "cuda" and mean.dtype != rows.dtype and HAS_OUT_DTYPE:
        return mean, half_gram(rows, mean)
    products = [symmetric_product(centred.T, centred) for centred in (c - mean for c in _chunks(rows))]
    return mean, sum(products[1:], products[0]).div_(rows.shape[0])


def half_gram(rows: Tensor, mean: Tensor) -> Tensor:
    """Covariance (C, C), float32, of rows (M, C) in half precision: their product less mean · meanᵀ.

    Products of halves are exact in float32 and added up there, a piece of the rows at a time; no copy of them
    is made. The subtraction costs a channel with mean m and deviation σ up to (m / σ)² · 2 · 10⁻⁵ of its
    variance: behind a ReLU, where m is about σ, nothing; a part in 3,000 at m = 4 σ, 7 % at m = 60 σ. What a
    constant channel is left with may be negative, and is set to 0.

    Args:
        rows: bfloat16 or float16, on CUDA.
        mean: of the rows, (C,), float32.
    """
    pieces = len(rows) // HALF_ROWS
    whole, rest = rows[: pieces * HALF_ROWS], rows[pieces * HALF_ROWS :]
    product = mean.new_zeros(len(mean), len(mean))
    for part in (whole.view(pieces, HALF_ROWS, rows.shape[1]), rest.unsqueeze(0)):
        if part.numel():
            product += _products_in_float32(part)
    cov = product.div_(len(rows)).sub_(mean.unsqueeze(1) * mean)
    cov.diagonal().clamp_(min=0)
    return cov


def _products_in_float32(rows: Tensor) -> Tensor:
    """The sum of the Gram products of (B, M, C)."""
    return torch.bmm(rows.mT, rows, out_dtype=torch.float32).sum(0)


def rounded_bias(bias: Tensor, kernel: Tensor, rounded: Tensor, mean: Tensor) -> Tensor:
    """The bias with which a rounded kernel gives its channels the means that the kernel itself gives.

    Args:
        bias: for `kernel`, (C_out,), float32 at least.
        kernel: (C_out, C_in / groups, kh, kw).
        rounded: the same in half precision; with the same dtype the bias stays as it is.
        mean: of the patches it is to convolve, (G, P).

    >>> kernel, mean = torch.full((1, 1, 1, 1), 1.001), torch.full((1, 1), 1000.0)
    >>> rounded_bias(torch.zeros(1), kernel, kernel.bfloat16(), mean)
    tensor([1.0000])
    """
    if rounded.dtype == kernel.dtype:
        return bias
    lost = (kernel - rounded.to(kernel.dtype)).detach().view(len(mean), -1, mean.shape[1])
    return bias + (lost @ mean.detach().unsqueeze(2)).flatten()


def add_product_(to: Tensor, rows: Tensor, slopes: Tensor, offset: Tensor | None = None) -> None:
    """to += rows slopes + offset, in place: (M, C), (M, C), (C, C), (C,)."""
    for chunk, part in zip(_chunks(rows), _chunks(to), strict=True):
        chunk = chunk.to(slopes.dtype)
        if part.dtype != chunk.dtype or multiplies_by_convolution(chunk, slopes.shape[1]):
            part.add_(multiply_rows(chunk, slopes, offset))
            continue
        part.addmm_(chunk, slopes)
        if offset is not None:
            part.add_(offset)


class _PatchMoments(torch.autograd.Function):
    """x itself, and the moments of its patches.

    Backward, every patch p adds (grad_mean + (grad_cov + grad_covᵀ) (p − mean)) / M to the pixels it was read
    from. Kernels (`KERNELS`) differ in how they walk the patches, forward and back; of x's size they save x
    alone.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, window: Window, groups: int, kernel: MomentsKernel
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, C, H, W) to itself, mean (G, P) and cov (G, P, P)."""
        find, _ = KERNELS[kernel]
        centre, mean, cov = find(x, window, groups)
        ctx.save_for_backward(x, centre, mean)
        ctx.window, ctx.groups, ctx.kernel = window, groups, kernel
        return x.view_as(x), mean, cov

    @staticmethod
    @first_order
    def backward(
        ctx: Any, grad_x: Tensor, grad_mean: Tensor, grad_cov: Tensor
    ) -> tuple[Tensor, None, None, None]:
        """The gradient of the returned x, and what the moments add to it."""
        x, centre, mean = ctx.saved_tensors
        count = ctx.window.count(x.shape)
        _, add = KERNELS[ctx.kernel]
        slopes, offset = (grad_cov + grad_cov.mT) / count, grad_mean / count
        return add(grad_x, x, (centre, mean), (slopes, offset), ctx.window, ctx.groups), None, None, None


# A centre, and mean (G, P) and cov (G, P, P). The centre is what the way back takes values about.
CentredMoments = tuple[Tensor, Tensor, Tensor]
TensorPair = tuple[Tensor, Tensor]


def _find_depthwise(x: Tensor, window: Window, groups: int) -> CentredMoments:
    """By the compiled kernels, in one pass; on a CPU in float64. The centre, (C,), is near the mean."""
    found: CentredMoments = depthwise_moments(x, window.flat())
    return found


def _add_depthwise(
    grad_x: Tensor, x: Tensor, about: TensorPair, slopes: TensorPair, window: Window, groups: int
) -> Tensor:
    (shift, mean), (slope, offset) = about, slopes
    # slope (p − mean) + offset, with p − shift in place of p − mean: float32 pixels are near the shift.
    offsets = offset - (slope @ (mean - shift.unsqueeze(1)).unsqueeze(2)).squeeze(2)
    grad_x = channels_last(grad_x)
    depthwise_moments_backward_(grad_x, x, shift, slope, offsets, window.flat())
    return grad_x


def _find_pointwise(x: Tensor, window: Window, groups: int) -> CentredMoments:
    """One Gram product."""
    mean, cov = gram(pixel_rows(x))
    return mean, mean.unsqueeze(0), cov.unsqueeze(0)


def _add_pointwise(
    grad_x: Tensor, x: Tensor, about: TensorPair, slopes: TensorPair, window: Window, groups: int
) -> Tensor:
    # grad_x comes from the one consumer of patch_moments' x, so it is ours to change.
    grad_x = channels_last(grad_x)
    slope, offset = slopes[0][0], slopes[1][0]
    add_product_(pixel_rows(grad_x), pixel_rows(x), slope, offset - about[0] @ slope)
    return grad_x


def _find_unfolded(x: Tensor, window: Window, groups: int) -> CentredMoments:
    """Any convolution in plain torch: patches are unfolded a few images at a time, and again backward."""
    dtype = accumulation_dtype(x.dtype)
    shift = x[:1].mean((0, 2, 3), dtype=dtype).view(1, -1, 1, 1)
    count = window.count(x.shape)
    first: Tensor | float = 0.0
    second: Tensor | float = 0.0
    offset = shift.view(groups, -1, 1).repeat_interleave(window.num_taps, 1)
    for part in _parts(x, window):
        columns = _columns(part.to(dtype), window, groups) - offset
        first = first + columns.sum(-1)
        second = second + columns @ columns.mT
    mean, square = torch.as_tensor(first) / count, torch.as_tensor(second) / count
    cov = square - mean.unsqueeze(2) * mean.unsqueeze(1)
    mean = mean + offset.squeeze(-1)
    return mean, mean, cov


def _add_unfolded(
    grad_x: Tensor, x: Tensor, about: TensorPair, slopes: TensorPair, window: Window, groups: int
) -> Tensor:
    mean, (slope, offset) = about[1], slopes
    grads = []
    for part in _parts(x, window):
        columns = _columns(part.to(mean.dtype), window, groups) - mean.unsqueeze(2)
        columns = slope @ columns + offset.unsqueeze(2)
        spread = columns.view(*columns.shape[:2], len(part), -1).permute(2, 0, 1, 3).flatten(1, 2)
        size = x.shape[2:]
        grads.append(F.fold(spread, size, window.kernel, window.dilation, window.padding, window.stride))
    return grad_x + torch.cat(grads).to(grad_x.dtype)


def _parts(x: Tensor, window: Window) -> tuple[Tensor, ...]:
    """Images at a time whose unfolded patches are of bounded size."""
    image = max(1, window.count(x.shape) // max(1, x.shape[0])) * x.shape[1] * window.num_taps
    return torch.split(x, max(1, MAX_COLUMNS.get(x.device.type, 1 << 24) // image))


FindMoments = Callable[[Tensor, Window, int], CentredMoments]
AddGradient = Callable[[Tensor, Tensor, TensorPair, TensorPair, Window, int], Tensor]
KERNELS: dict[MomentsKernel, tuple[FindMoments, AddGradient]] = {
    "depthwise_c": (_find_depthwise, _add_depthwise),
    "depthwise_triton": (_find_depthwise, _add_depthwise),
    "gram": (_find_pointwise, _add_pointwise),
    "unfold": (_find_unfolded, _add_unfolded),
}
