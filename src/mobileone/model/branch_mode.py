"""Which way a train-form block computes in training, and the rule behind `"auto"`.

`"branches"` is the textbook form, `"online"` one convolution from batch statistics: the same function.
`"auto"` takes the one that was measured to be faster for the unit's shape, device and dtype, and branches
where nothing was measured; docs/online.md has the figures.
"""

from __future__ import annotations

from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from mobileone.errors import ConfigError
from mobileone.functional.kernels import affine
from mobileone.functional.kernels import depthwise_convolution as depthwise
from mobileone.functional.window import Window
from mobileone.model.branches import BranchedUnit, norms_of
from mobileone.model.online_forward import suits_output_statistics
from mobileone.variants import BranchMode

M = TypeVar("M", bound=nn.Module)

# The rule of "auto", measured unit by unit on a CPU (docs/online.md). Input elements from which the online
# form won: below, the calls for its small tensors cost more than it saves.
MIN_ELEMENTS_DEPTHWISE = 1 << 17
# As multiply-accumulates: those calls, and what a branch of its own costs an output element beyond products
# (writing its output, normalising it, adding it, and all that backward).
CALLS_MACS = 50_000_000
BRANCH_OVERHEAD_MACS = 180


def set_branch_mode(model: M, mode: BranchMode) -> M:
    """Choose how every train-form unit of `model` computes in training, in place.

    Parameters, buffers and state-dict keys stay as they are, so the mode may change at any step. A copy or
    a pickle keeps it; a state dict does not hold it.

    Args:
        model: any module with `MobileOneBlock`s inside.
        mode: `"branches"`, `"online"`, or `"auto"`, the faster one for each unit.

    Returns:
        The same model.

    Raises:
        ConfigError: on another mode, or if `model` has no unit in train form.

    >>> from mobileone.model.create import create_model
    >>> set_branch_mode(create_model("mobileone_s0"), "online").stem.branch_mode
    'online'
    """
    if mode not in get_args(BranchMode):
        raise ConfigError(f"branch mode must be one of {', '.join(get_args(BranchMode))}, got {mode!r}")
    blocks: list[Any] = [module for module in model.modules() if hasattr(type(module), "branch_mode")]
    if not blocks:
        raise ConfigError(
            f"cannot set the branch mode of a {type(model).__name__} without units in train form; "
            "mobileone.expand gives it branches"
        )
    for block in blocks:
        block.branch_mode = mode
    return model


def runs_online(block: BranchedUnit, x: Tensor) -> bool:
    """Whether this block, in training, computes x as one convolution.

    Raises:
        ConfigError: if the mode is `"online"` and a branch is not a plain convolution with BatchNorm.
    """
    if block.branch_mode == "branches":
        return False
    reason = _obstacle(block)
    if block.branch_mode == "online":
        if reason:
            raise ConfigError(f"cannot train a unit online: {reason}; use branch mode branches or auto")
        return True
    return reason is None and pays(block, x)


def pays(block: BranchedUnit, x: Tensor) -> bool:
    """Whether one convolution is the faster way for x, as measured: on a CPU, in float32 or float64.

    - Depthwise: unless x is small.
    - Pointwise with one convolution branch: never, it saves one or two BatchNorms and costs more.
    - Others: where the Gram product and the products with the kernels cost less than the branches they save,
      which takes many more pixels than channels.
    - Never under autocast, on other devices, or without a C compiler; under torch.compile not with one
      convolution branch, which the compiler fuses itself.
    """
    spec, window = block.spec, Window.of(block.spec)
    depthwise_unit = spec.groups == spec.in_channels
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    if suits_output_statistics(spec):
        large = depthwise_unit and x.numel() >= MIN_ELEMENTS_DEPTHWISE
        return large and not torch.compiler.is_compiling() and affine.supports(x)
    if not depthwise.supports(x, window):
        return False
    if depthwise_unit:
        return x.numel() >= MIN_ELEMENTS_DEPTHWISE
    if spec.groups > 1:
        return False
    k, patch, c_out = spec.num_conv_branches, spec.in_channels * window.num_taps, spec.out_channels
    outputs = window.count(x.shape) * c_out
    saved = outputs * (3 * (k - 1) * patch + (spec.num_branches - 1) * BRANCH_OVERHEAD_MACS)
    added = 2 * patch**2 * (window.count(x.shape) + k * c_out) + CALLS_MACS
    return added < saved


def _obstacle(block: BranchedUnit) -> str | None:
    """Why the block's branches cannot be computed together, or None."""
    norms = norms_of(block)
    convs = [branch.conv for branch in block.conv_branches]
    if block.conv_scale is not None:
        convs.append(block.conv_scale.conv)
    for norm in norms:
        if type(norm) is not nn.BatchNorm2d and not hasattr(norm, "process_group"):
            return f"a norm is {type(norm).__name__}, not BatchNorm"
    for conv in convs:
        if type(conv) is not nn.Conv2d or conv.bias is not None:
            return f"a branch is {type(conv).__name__}, not a plain convolution without bias"
    if len({hasattr(norm, "process_group") for norm in norms}) > 1:
        return "some BatchNorms are synchronised over ranks and some are not"
    branches = [*block.conv_branches, *([] if block.conv_scale is None else [block.conv_scale])]
    for module in (*norms, *convs, *branches):
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            return f"a {type(module).__name__} has hooks, which would not be called"
    return None
