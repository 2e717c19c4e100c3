"""Products of tall matrices of pixels with small ones, by the faster of a CPU's two libraries.

torch gives matrix products to MKL and convolutions to oneDNN. On AMD's processors with AVX-512 MKL leaves
half of their vector units unused, and a 1×1 convolution of the same numbers takes half the time; on an Intel
one it took 0.9 to 2.3 times the time, and without AVX-512 oneDNN is slow, at a kernel's gradient above all
(docs/online.md).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.processor import is_amd

# Images that rows are seen as: on one thread torch takes oneDNN for as many, and for fewer MKL.
NUM_IMAGES = 16


def multiplies_by_convolution(rows: Tensor, width: int) -> bool:
    """Whether products with rows (M, C), to or from `width` columns, are convolutions here.

    Not those of fewer rows than channels, for which oneDNN's rearranging of the small matrix does not pay.
    """
    return (
        not torch.compiler.is_compiling()
        and rows.device.type == "cpu"
        and rows.dtype == torch.float32
        and len(rows) >= max(width, rows.shape[1])
        and is_amd()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def multiply_rows(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows @ matrix + bias, without gradient: (M, C), (C, D) and (D,) to (M, D).

    >>> multiply_rows(torch.ones(2, 3), torch.ones(3, 1), torch.ones(1))
    tensor([[4.],
            [4.]])
    """
    if not multiplies_by_convolution(rows, matrix.shape[1]):
        return rows @ matrix if bias is None else torch.addmm(bias, rows, matrix)
    with torch.no_grad():
        out = F.conv2d(_as_images(rows), matrix.T[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).flatten(0, 2)


def multiply_columns(left: Tensor, right: Tensor) -> Tensor:
    """leftᵀ @ right, a sum over rows: (M, C) and (M, D) to (C, D).

    >>> multiply_columns(torch.ones(5, 2), torch.ones(5, 1))
    tensor([[5.],
            [5.]])
    """
    if not multiplies_by_convolution(left, right.shape[1]):
        return left.T @ right
    # What a 1×1 convolution of `right` gives its kernel where the gradient of its output is `left`.
    kernel = left.new_empty(left.shape[1], right.shape[1], 1, 1)
    stride, padding, dilation = [1, 1], [0, 0], [1, 1]
    _, found, _ = torch.ops.aten.convolution_backward(
        _as_images(left), _as_images(right), kernel, None, stride, padding, dilation, False, [0, 0], 1,
        [False, True, False],
    )  # fmt: skip
    out: Tensor = found.flatten(1)
    return out


def _as_images(rows: Tensor) -> Tensor:
    """(M, C) as a batch of images, channels_last: a view where rows lie side by side."""
    images = NUM_IMAGES if len(rows) % NUM_IMAGES == 0 else 1
    return rows.view(images, -1, 1, rows.shape[1]).permute(0, 3, 1, 2)
