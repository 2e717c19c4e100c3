"""Moments of depthwise patches as torch operators: over moments.c on a CPU, by Triton on CUDA.

torch.compile sees the operators as they are, opaque.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from mobileone.functional.kernels import native
from mobileone.functional.window import Window

MAX_SIDE = 5  # of a kernel; moments.c has room for no more
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Tasks to cut a call into where there are fewer blocks of channels, and the elements that are worth a task.
NUM_TASKS = 32
LANES = 16
TASK_ELEMENTS = 1 << 16


_SIZES = ("images", "height", "width", "channels", "out_height", "out_width")
_WINDOW = ("kernel", "stride", "pad", "dilation")


class _Shape(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int64) for name in (*_SIZES, *(f"{name}_{axis}" for name in _WINDOW for axis in "hw"))
    )


def supports(x: Tensor, window: Window) -> bool:
    """Whether the operators take x, with a kernel of 5×5 at most.

    On a CPU: float32 or float64, and a C compiler. On CUDA: float32 or half precision, and Triton.
    """
    if max(window.kernel) > MAX_SIDE:
        return False
    if x.device.type == "cuda":
        return x.dtype in TRITON_DTYPES and has_triton()
    return x.device.type == "cpu" and x.dtype in native.REALS and available(x.dtype)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available(dtype: torch.dtype) -> bool:
    """Whether the compiled library is there; the first call compiles it."""
    return (
        native.load("depthwise_moments", dtype) is not None
        and native.load("depthwise_convolution", dtype) is not None
    )


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed; where it is not, the first call says so."""
    found = importlib.util.find_spec("triton") is not None
    if not found:
        warnings.warn(
            "Triton is not installed; moments of patches on a GPU run as plain torch, which is slower. "
            "Install mobileone[gpu]",
            RuntimeWarning,
            stacklevel=2,
        )
    return found


def flat(window: Window) -> list[int]:
    """A window as the operators' schema knows it."""
    return [value for pair in window for value in pair]


def _window(values: Sequence[int]) -> Window:
    a, b, c, d, e, f, g, h = values
    return Window((a, b), (c, d), (e, f), (g, h))


def _shape(x: Tensor, window: Window) -> _Shape:
    n, c, h, w = x.shape
    return _Shape(n, h, w, c, *window.output_size(h, w), *flat(window))


@torch.library.custom_op("mobileone::depthwise_moments", mutates_args=(), device_types="cpu")
def depthwise_moments(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A shift (C,) near the mean of x, and mean (C, T) and cov (C, T, T) of its patches.

    Moments are in float64 on a CPU, in float32 on CUDA.
    """
    x, geometry = x.contiguous(memory_format=torch.channels_last), _window(window)
    taps = geometry.num_taps
    shift, sums = moments_sums(x, geometry)
    total = sums.sum(0).div_(geometry.count(x.shape))
    first = total[:taps].T.contiguous()
    second = total[taps:].index_select(0, _pair_index(taps)).T.contiguous()
    second = second.view(-1, taps, taps)
    second.sub_(first.unsqueeze(2) * first.unsqueeze(1))
    return shift, first + shift.double().unsqueeze(1), second


@depthwise_moments.register_fake
def _(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    channels, taps = x.shape[1], window[0] * window[1]
    if x.device.type == "cpu":
        mean, shift = x.new_empty(channels, taps, dtype=torch.float64), x.new_empty(channels)
    else:
        mean, shift = (x.new_empty(size, dtype=torch.float32) for size in ((channels, taps), (channels,)))
    return shift, mean, mean.new_empty(channels, taps, taps)


@depthwise_moments.register_kernel("cuda")
def _(x: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    from mobileone.functional.kernels import depthwise_moments_triton

    return depthwise_moments_triton.depthwise_moments(x, _window(window))


@functools.cache
def _pair_index(taps: int) -> Tensor:
    """Where element (t, u) of a symmetric matrix lies in its upper triangle, (taps²,)."""
    index = torch.zeros(taps, taps, dtype=torch.int64)
    rows, columns = torch.triu_indices(taps, taps)
    index[rows, columns] = index[columns, rows] = torch.arange(len(rows))
    return index.flatten()


@torch.library.custom_op(
    "mobileone::depthwise_moments_backward_", mutates_args=("grad_x",), device_types="cpu"
)
def depthwise_moments_backward_(
    grad_x: Tensor, x: Tensor, shift: Tensor, slopes: Tensor, offsets: Tensor, window: Sequence[int]
) -> None:
    """grad_x += Σ over patches p that hold the pixel, as tap t, of offsets[t] + slopes[t] · (p − shift).

    Args:
        grad_x: (N, C, H, W), channels_last.
        x: the same shape.
        shift: (C,).
        slopes: (C, T, T).
        offsets: (C, T).
        window: of the convolution.
    """
    geometry = _window(window)
    x = x.contiguous(memory_format=torch.channels_last)
    slopes, offsets = (value.flatten(1).T.to(x.dtype).contiguous() for value in (slopes, offsets))
    _backward(grad_x, x, shift, slopes, offsets, geometry)


@depthwise_moments_backward_.register_kernel("cuda")
def _(
    grad_x: Tensor, x: Tensor, shift: Tensor, slopes: Tensor, offsets: Tensor, window: Sequence[int]
) -> None:
    from mobileone.functional.kernels import depthwise_moments_triton

    depthwise_moments_triton.depthwise_moments_backward_(grad_x, x, shift, slopes, offsets, _window(window))


def moments_sums(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """A shift (C,) near the mean of x, and sums (groups, T + T (T + 1) / 2, C) over the patches of x − shift.

    The sums, in float64, are of every tap and of the products of every two, an upper triangle row by row.
    x is channels_last.
    """
    # Centred on the first image's mean: sums of squares must not cancel where a mean is large.
    shift = x[0].mean((1, 2)).contiguous()
    groups, taps = _groups(x), window.num_taps
    sums = torch.zeros(groups, taps + taps * (taps + 1) // 2, x.shape[1], dtype=torch.float64)
    native.call("depthwise_moments", "depthwise_moments", x.dtype, x, shift, sums, groups, _shape(x, window))
    return shift, sums


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
    args = (x, kernel, bias, out, int(relu), _groups(x), _shape(x, window))
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
    groups = _groups(x)
    sums = torch.zeros(groups, window.num_taps + 1, x.shape[1], dtype=torch.float64)
    args = (x, shift, grad, out, sums, groups, _shape(x, window))
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
        slopes: of the moments, (T, T, C), as `depthwise_moments_backward_` has them but for the order.
        offsets: (T, C).
        grad: gradient of the output, channels_last.
        out: the output if ReLU gave it.
        kernel: (T, C).
        window: geometry.
    """
    grad_x = torch.empty_like(x)
    _backward(grad_x, x, shift, slopes, offsets, window, grad, out, kernel)
    return grad_x


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
    rows, columns = (_classes(x.shape[2 + axis], axis, window) for axis in (0, 1))
    args = (
        x,
        shift,
        slopes,
        offsets,
        *rows,
        *columns,
        grad,
        out,
        kernel,
        grad_x,
        _groups(x),
        _shape(x, window),
    )
    native.call("depthwise_convolution", "depthwise_backward", x.dtype, *args)


def _groups(x: Tensor) -> int:
    """Pieces of the batch that make enough tasks."""
    return min(len(x), max(1, NUM_TASKS * LANES // x.shape[1]), max(1, x.numel() // TASK_ELEMENTS))


@functools.lru_cache(maxsize=256)
def _classes(size: int, axis: int, window: Window) -> tuple[Tensor, Tensor, int]:
    """For each pixel along an axis, the taps it can be; pixels of equal sets are a class.

    Returns:
        The class of each pixel (size,), the set of each class as bits (classes,), and the number of classes.
    """
    kernel, stride, padding, dilation = (pair[axis] for pair in window)
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    sets = []
    for pixel in range(size):
        starts = [divmod(pixel + padding - tap * dilation, stride) for tap in range(kernel)]
        sets.append(sum((rest == 0 and 0 <= out < outputs) << tap for tap, (out, rest) in enumerate(starts)))
    distinct = list(dict.fromkeys(sets))
    return torch.tensor([distinct.index(taps) for taps in sets]), torch.tensor(distinct), len(distinct)
