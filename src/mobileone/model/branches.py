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
