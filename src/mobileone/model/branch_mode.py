"""Which way a train-form block computes in training: branch by branch, online, or the faster of the two.

`"branches"` is the textbook form, `"online"` one convolution from batch statistics: the same function.
`"auto"` takes the one that was measured to be faster for the unit's shape, device and dtype, and branches
where nothing was measured; the rule stands in functional/online/kernel_table.py, its figures in
docs/online.md.
"""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from torch import Tensor, nn

from mobileone.errors import ConfigError
from mobileone.functional.online.kernel_table import online_pays
from mobileone.model.alterations import branch_alteration, own_method
from mobileone.model.branches import BranchedUnit, norms_of
from mobileone.model.sync_batch_norm import is_synchronised
from mobileone.variants import BranchMode

M = TypeVar("M", bound=nn.Module)


def set_branch_mode(model: M, mode: BranchMode) -> M:
    """Choose how every train-form unit of `model` computes in training, in place.

    Parameters, buffers and state-dict keys stay as they are, so the mode may change at any step. A copy or
    a pickle keeps it; a state dict does not hold it.

    Args:
        model: any module with `MobileOneBlock` units inside.
        mode: `"branches"`, `"online"`, or `"auto"`, the faster one for each unit.

    Returns:
        The same model.

    Raises:
        ConfigError: on another mode, or if `model` has no unit in train form.

    >>> from mobileone import create_model
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
        ConfigError: if the mode is `"online"` and a branch is not a plain convolution with BatchNorm, or the
            block is a subclass with methods of its own.
    """
    if block.branch_mode == "branches":
        return False
    reason = _obstacle(block)
    if block.branch_mode == "online":
        if reason:
            raise ConfigError(f"cannot train a unit online: {reason}; use branch mode branches or auto")
        return True
    return reason is None and online_pays(block.spec, x)


def _obstacle(block: BranchedUnit) -> str | None:
    """Why the block's branches cannot be computed together, or None."""
    method = own_method(block)
    if method:
        return f"it is a {type(block).__name__} with a {method} of its own"
    reason = branch_alteration(block, backward=True)
    if reason:
        return reason
    if any(branch.conv.bias is not None for branch in block.conv_branches) or (
        block.conv_scale is not None and block.conv_scale.conv.bias is not None
    ):
        return "a branch's convolution has a bias"
    if len({is_synchronised(norm) for norm in norms_of(block)}) > 1:
        return "some BatchNorms are synchronised over ranks and some are not"
    return None
