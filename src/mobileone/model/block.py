"""The re-parameterisable unit: train form and inference form, built from one `BlockSpec`.

Child names are timm's, so that published weights load unchanged.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mobileone.functional.window import subsample
from mobileone.model.alterations import alteration, branch_alteration
from mobileone.model.branch_mode import runs_online
from mobileone.model.branches import ConvBN, norms_of
from mobileone.model.online_forward import online_forward
from mobileone.model.sync_batch_norm import SyncBatchNorm2d, normalize_together
from mobileone.variants import SE_REDUCTION, BlockSpec, BranchMode


def spec_conv(spec: BlockSpec, *, bias: bool) -> nn.Conv2d:
    """The convolution of a unit: a branch's in train form, the only one in inference form."""
    return nn.Conv2d(
        spec.in_channels,
        spec.out_channels,
        spec.kernel,
        spec.strides,
        spec.paddings,
        spec.dilations,
        spec.groups,
        bias=bias,
    )


class SqueezeExcite(nn.Module):
    """Channel attention (arXiv 1709.01507): x · sigmoid(fc2(relu(fc1(mean over H, W)))), reduction 1/16."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SE_REDUCTION, kernel_size=1)
        self.fc2 = nn.Conv2d(channels // SE_REDUCTION, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        gate = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


def _attention(spec: BlockSpec) -> nn.Module:
    return SqueezeExcite(spec.out_channels) if spec.use_se else nn.Identity()


class MobileOneBlock(nn.Module):
    """Train form: the sum of k conv-BN branches, a 1×1 conv-BN and a BN, then SE (if any) and ReLU.

    In training the sum may be computed branch by branch or as one convolution, with the same result,
    gradients and running statistics; in eval it is always branch by branch.

    Args:
        spec: what to build.

    Attributes:
        branch_mode: how to compute in training; `set_branch_mode` sets it, and it is no part of the state.

    >>> block = MobileOneBlock(BlockSpec(16, 16, kernel_size=3, groups=16, num_conv_branches=2))
    >>> block(torch.zeros(2, 16, 8, 8)).shape
    torch.Size([2, 16, 8, 8])
    """

    branch_mode: BranchMode = "auto"

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.spec = spec
        self.identity = nn.BatchNorm2d(spec.in_channels) if spec.use_identity else None
        self.conv_kxk = nn.ModuleList(
            ConvBN(spec_conv(spec, bias=False)) for _ in range(spec.num_conv_branches)
        )
        self.conv_scale: ConvBN | None = None
        if spec.use_scale:
            pointwise = nn.Conv2d(spec.in_channels, spec.out_channels, 1, groups=spec.groups, bias=False)
            self.conv_scale = ConvBN(pointwise)
        self.attn = _attention(spec)
        self.act = nn.ReLU(inplace=True)

    @property
    def conv_branches(self) -> list[ConvBN]:
        """The k full-size convolution branches, whatever was put in their place."""
        return cast("list[ConvBN]", list(self.conv_kxk))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H', W')."""
        if self.training and len(x) and runs_online(self, x):  # an empty batch has no moments
            fused = not alteration(self.attn, nn.Identity) and not alteration(self.act, nn.ReLU)
            out: Tensor = online_forward(self, x, relu=fused)
            return out if fused else self.act(self.attn(out))
        return self.act(self.attn(self._sum_of_branches(x)))  # type: ignore[no-any-return]

    def _sum_of_branches(self, x: Tensor) -> Tensor:
        first, *others = self.conv_branches
        # One norm is asked first: looking for alterations takes longer, and few runs are over ranks.
        if self.training and isinstance(getattr(first, "bn", None), SyncBatchNorm2d):
            norms = [] if branch_alteration(self, backward=True) else norms_of(self)
            synced = [norm for norm in norms if isinstance(norm, SyncBatchNorm2d) and norm.training]
            if norms and len(synced) == len(norms):
                return self._sum_over_ranks(synced, x)
        out: Tensor = first(x)
        for branch in others:
            out = out + branch(x)
        if self.conv_scale is not None:
            # Pixels picked, then a 1×1 convolution at stride 1, which is the same function: torch 2.13 on a
            # CPU corrupts the heap in the weight gradient of a strided 1×1 convolution over 3 or 4 float32
            # channels_last channels of 128 px and more, which is the stem's scale branch.
            out = out + self.conv_scale(subsample(x, self.spec.strides))
        if self.identity is not None:
            out = out + self.identity(x)
        return out

    def _sum_over_ranks(self, norms: list[SyncBatchNorm2d], x: Tensor) -> Tensor:
        """The same with one exchange between the ranks for all of the unit's BatchNorms."""
        inputs = [branch.conv(x) for branch in self.conv_branches]
        if self.conv_scale is not None:
            inputs.append(self.conv_scale.conv(subsample(x, self.spec.strides)))
        if self.identity is not None:
            inputs.append(x)
        outs = normalize_together(norms, [value.to(inputs[0].dtype) for value in inputs])
        return sum(outs[1:], outs[0])


class InferenceBlock(nn.Module):
    """Inference form: one convolution with bias, then SE (if any) and ReLU.

    Args:
        spec: what to build; the branch fields do not matter here, and are kept for `expand`.

    >>> block = InferenceBlock(BlockSpec(16, 32, kernel_size=3, stride=2))
    >>> block(torch.zeros(2, 16, 8, 8)).shape
    torch.Size([2, 32, 4, 4])
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.spec = spec
        self.reparam_conv = spec_conv(spec, bias=True)
        # Without BatchNorm torch's default gain lets the signal die out over 43 units.
        nn.init.kaiming_uniform_(self.reparam_conv.weight, nonlinearity="relu")
        self.attn = _attention(spec)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H', W')."""
        out: Tensor = self.act(self.attn(self.reparam_conv(x)))
        return out
