"""The branches of a unit in train form, as all that computes with them sees them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from mobileone.variants import BlockSpec, BranchMode


class ConvBN(nn.Module):
    """One branch: a convolution without bias, then BatchNorm."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H', W')."""
        out: Tensor = self.bn(self.conv(x))
        return out


class BranchedUnit(Protocol):
    """What `MobileOneBlock` is made of.

    Attributes:
        spec: what it was built from.
        branch_mode: how to compute in training.
        identity: the BatchNorm of the identity branch, or None.
        conv_scale: the scale branch, or None.
    """

    spec: BlockSpec
    branch_mode: BranchMode
    identity: nn.BatchNorm2d | None
    conv_scale: ConvBN | None

    @property
    def conv_branches(self) -> list[ConvBN]:
        """The k full-size convolution branches."""
        ...


def norms_of(unit: BranchedUnit) -> list[nn.BatchNorm2d]:
    """The BatchNorm of every branch: convolutions, scale, identity."""
    norms = [branch.bn for branch in unit.conv_branches]
    if unit.conv_scale is not None:
        norms.append(unit.conv_scale.bn)
    if unit.identity is not None:
        norms.append(unit.identity)
    return norms


def has_hooks(unit: BranchedUnit) -> str:
    """The type of the first module within the branches that has hooks, or "" if none has."""
    branches = [*unit.conv_branches, *([] if unit.conv_scale is None else [unit.conv_scale])]
    for module in (*norms_of(unit), *(branch.conv for branch in branches), *branches):
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            return type(module).__name__
    return ""
