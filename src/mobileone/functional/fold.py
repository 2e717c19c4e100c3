"""Branches as kernels: fold a BatchNorm, place a pixel in a kernel. Pure, for 2-d convolutions of any shape.

Kernels are (C_out, C_in / groups, kh, kw), biases (C_out,). The algebra is the paper's (arXiv 2206.04040,
section 3.2) and RepVGG's (arXiv 2101.03697). Callers pass float64, where folding costs no accuracy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mobileone.variants import Pair


def fold_batch_norm(
    kernel: Tensor,
    *,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The convolution that equals `kernel` followed by BatchNorm with these statistics.

    Args:
        kernel: (C_out, C_in / groups, kh, kw).
        mean: running mean, (C_out,).
        var: running variance, (C_out,).
        gamma: scale, (C_out,), or None for 1.
        beta: shift, (C_out,), or None for 0.
        eps: added to the variance.

    Returns:
        Kernel of the same shape, and bias (C_out,).

    >>> one = torch.ones(1)
    >>> fold_batch_norm(torch.ones(1, 1, 1, 1), mean=one, var=3 * one, gamma=one, beta=one, eps=1.0)
    (tensor([[[[0.5000]]]]), tensor([0.5000]))
    """
    scale = (var + eps).rsqrt()
    if gamma is not None:
        scale = scale * gamma
    bias = -mean * scale
    if beta is not None:
        bias = bias + beta
    return kernel * scale.reshape(-1, 1, 1, 1), bias


def embed_pointwise(kernel: Tensor, kernel_size: Pair) -> Tensor:
    """A 1×1 kernel as the centre tap of a larger odd one: (C_out, C_in / groups, kh, kw), zero elsewhere.

    >>> embed_pointwise(torch.ones(1, 1, 1, 1), (1, 3))
    tensor([[[[0., 1., 0.]]]])
    """
    rows, columns = (size // 2 for size in kernel_size)
    return torch.nn.functional.pad(kernel, (columns, columns, rows, rows))


def identity_pointwise(channels: int, groups: int, like: Tensor) -> Tensor:
    """The 1×1 kernel (C, C / groups, 1, 1) that copies every channel, with the dtype and device of `like`.

    Output channel c reads input channel c, which is number c mod (C / groups) of its own group.

    >>> identity_pointwise(4, 2, torch.ones(1)).flatten(1)
    tensor([[1., 0.],
            [0., 1.],
            [1., 0.],
            [0., 1.]])
    """
    width = channels // groups
    eye = torch.eye(width, dtype=like.dtype, device=like.device)
    return eye.repeat(groups, 1).reshape(channels, width, 1, 1)
