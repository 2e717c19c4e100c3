"""relu(a (y − m) + c (x − k) + b) per channel on a CPU, forward and backward, over affine.c."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from mobileone.functional.kernels import native

# Pieces of the rows that are summed apart: a constant, so that sums do not depend on the number of threads.
NUM_TASKS = 32


class _Operands(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("y", "mean_y", "a", "x", "mean_x", "c", "b")),
        *((name, ctypes.c_int64) for name in ("rows", "channels", "relu")),
    )


@dataclass(frozen=True, slots=True)
class AffineOfTwo:
    """The operands of relu(a (y − m) + c (x − k) + b).

    y and x are (N, C, H, W) in channels_last, all else (C,), of one dtype.

    Attributes:
        y: first tensor.
        mean_y: m, taken off y.
        a: factor of y − m.
        b: constant.
        x: second tensor, or None.
        mean_x: k, taken off x.
        c: factor of x − k.
        relu: whether ReLU follows.
    """

    y: Tensor
    mean_y: Tensor
    a: Tensor
    b: Tensor
    x: Tensor | None = None
    mean_x: Tensor | None = None
    c: Tensor | None = None
    relu: bool = True

    def _struct(self) -> _Operands:
        pointers = [
            None if value is None else value.data_ptr()
            for value in (self.y, self.mean_y, self.a, self.x, self.mean_x, self.c, self.b)
        ]
        channels = self.y.shape[1]
        return _Operands(*pointers, self.y.numel() // channels, channels, int(self.relu))

    def _call(self, name: str, *args: Tensor | int) -> None:
        native.call("affine", name, self.y.dtype, self._struct(), *args)

    def forward(self) -> Tensor:
        """The result, shaped and laid out as y."""
        out = torch.empty_like(self.y)
        self._call("affine", out)
        return out

    def sums(self, grad: Tensor, out: Tensor) -> Tensor:
        """Gradients of b, a and c: (3, C), float64.

        Args:
            grad: of the result, channels_last.
            out: the result.
        """
        sums = torch.zeros(NUM_TASKS, 3, self.y.shape[1], dtype=torch.float64)
        self._call("affine_sums", grad, out, sums, NUM_TASKS)
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
        """scale · g + slope · (of − mean) + offset, with g the gradient behind the ReLU.

        Args:
            grad: of the result, channels_last.
            out: the result.
            of: y or x.
            mean: taken off it, (C,).
            scale: (C,).
            slopes: slope and offset, (C,) each.
            onto: a channels_last tensor to add to, in place; None gives a new one.
        """
        to = torch.empty_like(of) if onto is None else onto
        constants = [value.detach().to(of.dtype).contiguous() for value in (mean, scale, *slopes)]
        self._call("affine_backward", grad, out, of, *constants, to, int(onto is not None))
        return to

    def backward_both(
        self, grad: Tensor, out: Tensor, of_y: tuple[Tensor, Tensor], of_x: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Gradients of y and of x in one pass, each `backward` with its own factor as the scale.

        Args:
            grad: of the result, channels_last.
            out: the result.
            of_y: slope and offset, (C,) each.
            of_x: likewise.
        """
        assert self.x is not None
        found = torch.empty_like(self.y), torch.empty_like(self.x)
        constants = [value.to(self.y.dtype).contiguous() for value in (*of_y, *of_x)]
        self._call("affine_backward_both", grad, out, *constants, *found)
        return found


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, (C,) each, in one pass.

    Args:
        x: (N, C, H, W), channels_last.
    """
    channels = x.shape[1]
    sums = torch.zeros(NUM_TASKS, 2, channels, dtype=torch.float64)
    mean, var = x.new_empty(channels), x.new_empty(channels)
    native.call(
        "affine", "channel_moments", x.dtype, x, x.numel() // channels, channels, sums, NUM_TASKS, mean, var
    )
    return mean, var


def behind_relu(grad: Tensor, out: Tensor | None) -> tuple[Tensor, Tensor]:
    """The gradient behind a ReLU, and its sum over all but the channels, (C,).

    Args:
        grad: of the ReLU's result, (N, C, H, W), channels_last.
        out: that result; None if there was no ReLU.
    """
    channels = grad.shape[1]
    to = grad if out is None else torch.empty_like(grad)
    sums = torch.zeros(NUM_TASKS, channels, dtype=torch.float64)
    rows = grad.numel() // channels
    native.call("affine", "behind_relu", grad.dtype, grad, out, to, sums, rows, channels, NUM_TASKS)
    return to, sums.sum(0).to(grad.dtype)
