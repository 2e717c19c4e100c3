"""The small tensors of a unit trained as one convolution, over branch_stack.c.

All tensors are contiguous, on the CPU and, but for what is said to be float64, of the dtype of the kernels.
`kernel_gradient` and `input_gradient` are depthwise_convolution.py's.
N counts branches: the B convolutions and, if `identity`, the identity as the last.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from mobileone.functional.kernels import native


class _Sizes(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int64) for name in ("convolutions", "branches", "channels", "patch", "taps")
    )


@dataclass(frozen=True, slots=True)
class BranchStack:
    """The branches of a unit, stacked.

    Attributes:
        weight: their kernels, (B, C_out, P) with P = C_in / groups · kh · kw.
        gamma: gains, (N, C_out).
        beta: shifts, (N, C_out).
        eps: added to variances, (N,), float64.
        taps: kh · kw.
    """

    weight: Tensor
    gamma: Tensor
    beta: Tensor
    eps: Tensor
    taps: int

    def _call(self, function: str, *args: Tensor | float) -> None:
        branches, channels = self.gamma.shape
        sizes = _Sizes(len(self.weight), branches, channels, self.weight.shape[2], self.taps)
        native.call("branch_stack", function, self.weight.dtype, sizes, *args)

    def _pair(self) -> tuple[Tensor, Tensor]:
        return torch.empty_like(self.gamma), torch.empty_like(self.gamma)

    def depthwise_statistics(
        self, sums: Tensor, shift: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Moments, mean (C, T) and cov (C, T, T) in float64, and mean and variance of each branch, (N, C).

        Args:
            sums: of `depthwise_moments.moments_sums`.
            shift: likewise.
            count: number of patches.
        """
        channels, taps = self.weight.shape[1:]
        mean, cov = sums.new_empty(channels, taps), sums.new_empty(channels, taps, taps)
        means, variances = self._pair()
        args = (sums, len(sums), float(count), shift, self.weight, mean, cov, means, variances)
        self._call("stack_depthwise_statistics", *args)
        return mean, cov, means, variances

    def depthwise_gradient(self, sums: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of kernel (C, T) and bias (C,), float64, from the sums of `kernel_gradient`."""
        channels, taps = self.weight.shape[1:]
        kernel, bias = sums.new_empty(channels, taps), sums.new_empty(channels)
        self._call("stack_depthwise_gradient", sums, len(sums), shift, kernel, bias)
        return kernel, bias

    def depthwise_backward(
        self,
        mean: Tensor,
        cov: Tensor,
        shift: Tensor,
        count: int,
        grad_kernel: Tensor,
        scale: Tensor,
        grad_means: Tensor,
        grad_variances: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of `weight`, and slopes (T, T, C) and offsets (T, C) for `input_gradient`."""
        channels, taps = self.weight.shape[1:]
        weight, slopes = torch.empty_like(self.weight), self.weight.new_empty(taps, taps, channels)
        offsets = self.weight.new_empty(taps, channels)
        args = (mean, cov, shift, float(count), grad_kernel, scale, grad_means, grad_variances)
        self._call("stack_depthwise_backward", self.weight, *args, weight, slopes, offsets)
        return weight, slopes, offsets

    def dense_statistics(self, product: Tensor, mean: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each branch, (N, C_out).

        Args:
            product: weight · cov, (B, C_out, P).
            mean: of the patches, (P,).
            variances: diagonal of cov, (P,).
        """
        found = self._pair()
        self._call("stack_dense_statistics", self.weight, product, mean, variances, *found)
        return found

    def dense_backward(
        self,
        product: Tensor,
        mean: Tensor,
        grad_kernel: Tensor,
        scale: Tensor,
        grad_means: Tensor,
        grad_variances: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Gradient of `weight`, and grad_variances · weight: its product with weight is cov's gradient."""
        weight, weighted = torch.empty_like(self.weight), torch.empty_like(self.weight)
        args = (product, mean, grad_kernel, scale, grad_means, grad_variances, weight, weighted)
        self._call("stack_dense_backward", self.weight, *args)
        return weight, weighted

    def merge(self, means: Tensor, variances: Tensor, *, transposed: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Scale γ / σ (N, C_out) of each branch, the one kernel, (C_out, P) or transposed, and the bias."""
        _, channels, patch = self.weight.shape
        scale = torch.empty_like(self.gamma)
        kernel = self.weight.new_empty((patch, channels) if transposed else (channels, patch))
        bias = self.weight.new_empty(channels)
        args = (self.gamma, self.beta, self.eps, int(transposed), scale, kernel, bias)
        self._call("stack_merge", self.weight, means, variances, *args)
        return scale, kernel, bias

    def merge_backward(
        self, means: Tensor, variances: Tensor, grad_kernel: Tensor, grad_bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of gamma, means and variances, (N, C_out), of those of kernel (C_out, P) and bias.

        Those may be in float64, in which a large mean costs nothing.
        """
        found = (torch.empty_like(self.gamma), *self._pair())
        exact = grad_kernel.dtype == torch.float64 != self.weight.dtype
        name = "stack_depthwise_merge_backward" if exact else "stack_merge_backward"
        args = (means, variances, self.gamma, self.eps, grad_kernel, grad_bias, *found)
        self._call(name, self.weight, *args)
        return found
