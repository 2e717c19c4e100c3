"""A train-form unit as one convolution: its branches' sum, from the statistics of the batch.

The same function as the branches one by one, with the same gradients and running statistics; docs/online.md
says why. All parameters and buffers are shared, so a network can change over at any step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobileone.errors import ConfigError
from mobileone.functional.fold import embed_pointwise
from mobileone.functional.online.branch_statistics import (
    BranchStatistics,
    branch_statistics,
    update_running_statistics,
)
from mobileone.functional.online.branch_sum import sum_branches
from mobileone.functional.online.fused import DensePasses, DepthwisePasses, UnitPasses, fused_unit
from mobileone.functional.online.kernel_table import UnitKernel, unit_kernel
from mobileone.functional.online.merged import UnitBranches, merged_dense, merged_depthwise
from mobileone.functional.online.moments import (
    PatchMoments,
    accumulation_dtype,
    patch_moments,
    rounded_bias,
)
from mobileone.functional.online.normalized import (
    AffineFactors,
    ChannelMoments,
    normalized_convolution,
    normalized_convolution_torch,
)
from mobileone.functional.rank_statistics import statistics_of_all_ranks
from mobileone.functional.window import Window
from mobileone.model.branches import BranchedUnit, norms_of
from mobileone.model.sync_batch_norm import is_synchronised, process_group_of

# What the kernels of the table are called; "composed" is the rest.
MERGED = {"merged_depthwise": merged_depthwise, "merged_dense": merged_dense}
FUSED: dict[UnitKernel, UnitPasses] = {"fused_depthwise": DepthwisePasses(), "fused_dense": DensePasses()}
NORMALIZED = {
    "normalized": normalized_convolution,
    "normalized_triton": normalized_convolution,
    "normalized_torch": normalized_convolution_torch,
}


def uses_batch_statistics(norm: nn.BatchNorm2d) -> bool:
    """Whether this BatchNorm normalises with the batch's statistics as it stands."""
    return norm.training or norm.running_mean is None


def online_forward(block: BranchedUnit, x: Tensor, *, relu: bool) -> Tensor:
    """The sum of a block's branches, by one convolution; running statistics move on.

    Args:
        block: in training mode; single BatchNorms may be in eval (frozen).
        x: (N, C_in, H, W).
        relu: whether ReLU follows.

    Returns:
        (N, C_out, H', W').

    Raises:
        ConfigError: where batch statistics are wanted of a single value a channel.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        # The branches' convolutions would see x so; statistics must be of the same numbers.
        x = x.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        branches, norms = _branches(block), norms_of(block)
        mixed = any(parameter.dtype != x.dtype for parameter in branches.parameters())
        frozen = not any(map(uses_batch_statistics, norms))
        kernel = unit_kernel(block.spec, x, mixed=mixed, frozen=frozen)
        if kernel in NORMALIZED:
            return _from_output(block, x, kernel, relu=relu)
        if kernel in MERGED:
            count = branches.window.count(x.shape)
            settle = lambda statistics: _settled(statistics, count, norms)  # noqa: E731
            return MERGED[kernel](x, branches, settle, relu=relu)
        if kernel in FUSED:

            def find_kernel(moments: PatchMoments, leaves: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
                return _merged(branches.with_parameters(leaves), moments, norms, accumulation_dtype(x.dtype))

            given = tuple(branches.parameters())
            return fused_unit(x, branches.window, find_kernel, given, FUSED[kernel], relu=relu)
        out = _from_moments(branches, norms, x)
        return out.relu_() if relu else out


def _branches(block: BranchedUnit) -> UnitBranches:
    norms = norms_of(block)
    return UnitBranches(
        kernels=[branch.conv.weight for branch in block.conv_branches],
        scale=None if block.conv_scale is None else block.conv_scale.conv.weight,
        gains=[norm.weight for norm in norms],
        shifts=[norm.bias for norm in norms],
        eps=[norm.eps for norm in norms],
        identity=block.identity is not None,
        window=Window.of(block.spec),
        groups=block.spec.groups,
    )


def _from_moments(branches: UnitBranches, norms: Sequence[nn.BatchNorm2d], x: Tensor) -> Tensor:
    """By the moments of the patches of x: one kernel and bias, then one convolution."""
    window, groups = branches.window, branches.groups
    moments = None
    if any(uses_batch_statistics(norm) for norm in norms):
        x, moments = patch_moments(x, window, groups=groups)
    exact, bias = _merged(branches, moments, norms, accumulation_dtype(x.dtype))
    kernel = exact.to(x.dtype)
    if moments is not None:
        bias = rounded_bias(bias, exact, kernel, moments.mean)
    return F.conv2d(x, kernel, bias.to(x.dtype), window.stride, window.padding, window.dilation, groups)


def _merged(
    branches: UnitBranches, moments: PatchMoments | None, norms: Sequence[nn.BatchNorm2d], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The one kernel and bias, differentiably; without moments where every BatchNorm is frozen."""
    kernels = list(branches.kernels)
    if branches.scale is not None:
        kernels.append(embed_pointwise(branches.scale, branches.window.kernel))
    weight = (kernels[0].unsqueeze(0) if len(kernels) == 1 else torch.stack(kernels)).to(dtype)
    if moments is None:
        statistics = _settled(None, 0, norms)
    else:
        statistics = branch_statistics(weight, moments, identity=branches.identity)
        statistics = _settled(statistics, moments.num, norms)
    like = weight.new_empty(weight.shape[1])
    gains = [torch.ones_like(like) if gain is None else gain for gain in branches.gains]
    shifts = [shift.to(dtype) for shift in branches.shifts if shift is not None]
    return sum_branches(
        weight,
        statistics,
        gamma=torch.stack(gains).to(dtype),
        shift=_sum(shifts, like),
        eps=_epsilon(norms, like),
        identity=branches.identity,
    )


def _from_output(block: BranchedUnit, x: Tensor, kernel: UnitKernel, *, relu: bool) -> Tensor:
    """By the statistics of the one convolution's output and of x."""
    spec, norms = block.spec, norms_of(block)
    weight = block.conv_branches[0].conv.weight
    gains = [norm.weight for norm in norms]
    shifts = [norm.bias for norm in norms]
    scale_weight = [] if block.conv_scale is None else [block.conv_scale.conv.weight]
    given = [value for value in (*gains, *shifts, *scale_weight) if value is not None]
    window = Window.of(spec)
    count = window.count(x.shape)

    def find_factors(
        of_y: ChannelMoments, of_x: ChannelMoments | None, parameters: tuple[Tensor, ...]
    ) -> AffineFactors:
        """Normalise each branch, as multiples of y and of x."""
        dtype = of_y.mean.dtype
        values = iter(parameters)
        one = torch.ones_like(of_y.mean)
        gamma = torch.stack([one if value is None else next(values).to(dtype) for value in gains])
        shift = _sum([next(values).to(dtype) for value in shifts if value is not None], of_y.mean)
        means, variances, centres = [of_y.mean], [of_y.var], [of_y.mean.detach()]
        slopes: list[Tensor] = []
        if of_x is not None:
            slopes = [next(values).to(dtype).flatten()] if scale_weight else []
            slopes += [one] if block.identity is not None else []
            means += [slope * of_x.mean for slope in slopes]
            variances += [slope.square() * of_x.var for slope in slopes]
            centres += [slope * of_x.mean.detach() for slope in slopes]
        local = BranchStatistics(torch.stack(means), torch.stack(variances))
        statistics = _settled(local, count, norms)
        scale = gamma * (statistics.var + _epsilon(norms, of_y.mean)).rsqrt()
        b = shift - (scale * (statistics.mean - torch.stack(centres))).sum(0)
        c = (torch.stack(slopes) * scale[1:]).sum(0) if slopes else None
        return AffineFactors(scale[0], c, b)

    return NORMALIZED[kernel](
        x,
        weight.to(x.dtype),
        window,
        find_factors,
        tuple(given),
        groups=spec.groups,
        uses_input=len(norms) > 1,
        relu=relu,
    )


def _settled(
    statistics: BranchStatistics | None, count: int, norms: Sequence[nn.BatchNorm2d]
) -> BranchStatistics:
    """What each branch normalises with: the statistics of all ranks, or a frozen BatchNorm's running ones.

    Running statistics move on. `statistics` are this rank's, None where every BatchNorm is frozen.
    """
    if statistics is None:
        return BranchStatistics(*_running(norms))
    total: Tensor | int = count
    synced = [norm for norm in norms if is_synchronised(norm)]
    if synced and torch.distributed.is_initialized():
        group = process_group_of(synced[0])
        mean, var, total = statistics_of_all_ranks(statistics.mean, statistics.var, count, group=group)
        statistics = BranchStatistics(mean, var)
    elif count == 1:
        raise ConfigError(
            "BatchNorm needs more than 1 value per channel in training, got an output of 1 pixel of 1 image; "
            "give a larger batch or image, or put the BatchNorms in eval mode"
        )
    update_running_statistics(norms, statistics, total)
    return _with_frozen(statistics, norms)


def _running(norms: Sequence[nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    """Running mean and variance of each branch, (B, C_out)."""
    means = [norm.running_mean for norm in norms if norm.running_mean is not None]
    variances = [norm.running_var for norm in norms if norm.running_var is not None]
    return torch.stack(means), torch.stack(variances)


def _with_frozen(statistics: BranchStatistics, norms: Sequence[nn.BatchNorm2d]) -> BranchStatistics:
    """The batch's statistics, with a frozen branch's running ones in their place."""
    if all(uses_batch_statistics(norm) for norm in norms):
        return statistics
    means, variances = list(statistics.mean), list(statistics.var)
    for i, norm in enumerate(norms):
        if not uses_batch_statistics(norm):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            means[i], variances[i] = norm.running_mean.to(means[i]), norm.running_var.to(variances[i])
    return BranchStatistics(torch.stack(means), torch.stack(variances))


def _sum(shifts: Sequence[Tensor], like: Tensor) -> Tensor:
    """The shifts added up one by one.

    The gradient of a stack's sum is one piece of memory behind all parameters' gradients, and torch then
    accumulates the next step's into it once for each.
    """
    total = torch.zeros_like(like)
    for shift in shifts:
        total = total + shift
    return total


def _epsilon(norms: Sequence[nn.BatchNorm2d], like: Tensor) -> Tensor:
    """Each BatchNorm's ε, (B, 1), in the dtype of `like`: filled in on the device, for a copy would wait."""
    values = [norm.eps for norm in norms]
    if len(set(values)) == 1:
        return like.new_full((len(values), 1), values[0])
    return torch.stack([like.new_full((1,), value) for value in values])
