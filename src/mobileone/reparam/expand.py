"""Inference form to train form: branches that sum to the given convolution, fit to be trained on.

Published weights often exist only fused. There is no way to recover the branches they came from, but any
branches with the right sum compute the same function; docs/fusion.md says why these ones are chosen.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobileone.errors import ReparameterizeError
from mobileone.functional.fold import identity_pointwise
from mobileone.functional.window import subsample
from mobileone.model.alterations import alteration, conv_alteration, full_settings
from mobileone.model.block import InferenceBlock, MobileOneBlock
from mobileone.model.wrapped import unwrap
from mobileone.reparam.fuse import INSTEAD, M, blocks_of, refuse_training, replace_blocks
from mobileone.variants import BlockSpec

# Size of the zero-sum noise on the convolution branches, relative to their share of the kernel.
BRANCH_NOISE = 0.5
PROBE_BATCH, PROBE_SIZE = 8, 128


@dataclass(frozen=True)
class KernelShares:
    """Kernels that sum to one kernel.

    Attributes:
        conv: k kernels (C_out, C_in / groups, kh, kw).
        scale: 1×1 kernel (C_out, C_in / groups, 1, 1), or None.
        identity: gain of each channel (C,), or None.
    """

    conv: tuple[Tensor, ...]
    scale: Tensor | None
    identity: Tensor | None


def split_kernel(kernel: Tensor, spec: BlockSpec, *, generator: torch.Generator) -> KernelShares:
    """Share a kernel equally among the branches that can hold each of its elements.

    The convolution branches get zero-sum noise on top, else they would stay copies of each other for ever.

    Args:
        kernel: (C_out, C_in / groups, kh, kw).
        spec: which branches there are.
        generator: source of the noise, on the CPU.
    """
    k = spec.num_conv_branches
    rows, columns = (size // 2 for size in spec.kernel)
    # How many branches can hold each element: all convolutions; at the centre also scale and identity.
    holders = torch.full_like(kernel, k)
    if spec.use_scale:
        holders[:, :, rows, columns] += 1
    if spec.use_identity:
        diagonal = identity_pointwise(spec.in_channels, spec.groups, like=kernel)
        holders[:, :, rows, columns] += diagonal[:, :, 0, 0]
    share = kernel / holders
    centre = share[:, :, rows : rows + 1, columns : columns + 1]
    noise = torch.randn((k, *kernel.shape), generator=generator, dtype=kernel.dtype).to(kernel.device)
    noise = (noise - noise.mean(0)) * share.square().mean((1, 2, 3), keepdim=True).sqrt() * BRANCH_NOISE
    return KernelShares(
        conv=tuple(share + part for part in noise),
        scale=centre.clone() if spec.use_scale else None,
        identity=(centre * diagonal).sum((1, 2, 3)) if spec.use_identity else None,
    )


def _set_batch_norm(bn: nn.BatchNorm2d, z: Tensor, gain: Tensor, offset: Tensor) -> None:
    """Make bn(z) = gain · z + offset in eval, with statistics that `z` really has.

    So the function changes as little as possible when training starts and the batch's statistics take over.
    """
    assert bn.running_mean is not None
    assert bn.running_var is not None
    var, mean = torch.var_mean(z.double(), dim=(0, 2, 3), correction=1)
    for buffer, value in ((bn.running_mean, mean), (bn.running_var, var)):
        buffer.copy_(value)
    # From the stored values, so that rounding them costs no exactness.
    mean, std = bn.running_mean.double(), (bn.running_var.double() + bn.eps).sqrt()
    bn.weight.copy_(gain * std)
    bn.bias.copy_(offset + gain * mean)


def expand_block(
    block: InferenceBlock, spec: BlockSpec, x: Tensor, *, generator: torch.Generator
) -> MobileOneBlock:
    """The train form of one unit; a frozen convolution gives frozen branches.

    Args:
        block: the unit.
        spec: its spec, with the branches wanted.
        x: what the unit is given, (N, C_in, H, W); the branches' statistics come from it.
        generator: source of the noise that tells the branches apart, on the CPU.
    """
    conv = block.reparam_conv
    branches = split_kernel(conv.weight.detach().double(), spec, generator=generator)
    bias = conv.weight.new_zeros(spec.out_channels) if conv.bias is None else conv.bias
    offset = bias.detach().double() / spec.num_branches
    one = torch.ones_like(offset)
    out = MobileOneBlock(spec).to(conv.weight.device, conv.weight.dtype)
    for branch, kernel in zip(out.conv_branches, branches.conv, strict=True):
        branch.conv.weight.copy_(kernel)
        _set_batch_norm(branch.bn, branch.conv(x), one, offset)
    if out.conv_scale is not None:
        assert branches.scale is not None
        out.conv_scale.conv.weight.copy_(branches.scale)
        _set_batch_norm(out.conv_scale.bn, out.conv_scale.conv(subsample(x, spec.strides)), one, offset)
    if out.identity is not None:
        assert branches.identity is not None
        _set_batch_norm(out.identity, x, branches.identity, offset)
    out.requires_grad_(any(parameter.requires_grad for parameter in conv.parameters()))
    out.attn, out.act = copy.deepcopy(block.attn), copy.deepcopy(block.act)
    return out.eval()


def _refuse_altered(block: nn.Module, name: str) -> None:
    assert isinstance(block, InferenceBlock)
    reason = alteration(block, InferenceBlock)
    if not reason:
        reason = conv_alteration(block.reparam_conv, full_settings(block.spec))
        reason = reason and f"has a reparam_conv that {reason}"
    if reason:
        raise ReparameterizeError(f"cannot expand {name}: it {reason}; {INSTEAD}")


@torch.no_grad()
def expand(model: M, x: Tensor | None = None, *, seed: int = 0) -> M:
    """A new model in which every inference-form unit has its branches again; it computes the same in eval.

    Args:
        model: in eval mode; a `MobileOne` or any module that contains `InferenceBlock` units.
        x: a batch of real, normalised images (N, C, H, W): the branches' BatchNorm statistics come from it.
            Give 32 or more to go on training; None stands for seeded noise, good for eval only.
        seed: of the noise that tells the convolution branches apart.

    Returns:
        The train-form model, in eval mode.

    Raises:
        ReparameterizeError: in training mode, with nothing to expand, without `x` for a module whose
            input channels are not known, or with a unit that was changed so that its spec and weights do not
            tell what it computes (a hook, a method, the convolution's settings).

    >>> from mobileone import create_model
    >>> fused = create_model("mobileone_s1", form="inference").eval()
    >>> expand(fused).form
    'train'
    """
    model = unwrap(model)
    refuse_training(model, doing="expand")
    blocks = dict(blocks_of(model, InferenceBlock))
    if not blocks:
        raise ReparameterizeError(f"nothing to expand: {type(model).__name__} has no unit in inference form")
    for name, block in blocks.items():
        _refuse_altered(block, name or "the block")
    generator = torch.Generator().manual_seed(seed)
    like = next(model.parameters())
    if x is None:
        in_chans = getattr(model, "in_chans", None)
        if in_chans is None:
            raise ReparameterizeError(
                f"cannot expand {type(model).__name__} without x; give it a batch of images"
            )
        x = torch.randn(PROBE_BATCH, in_chans, PROBE_SIZE, PROBE_SIZE, generator=generator)
    built: dict[int, MobileOneBlock] = {}

    def build(block: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(block, InferenceBlock)
        if id(block) not in built:
            built[id(block)] = expand_block(block, block.spec, args[0], generator=generator)

    handles = [block.register_forward_pre_hook(build) for block in blocks.values()]
    try:
        model(x.to(like.device, like.dtype))
    finally:
        for handle in handles:
            handle.remove()
    idle = [name for name, block in blocks.items() if id(block) not in built]
    if idle:
        raise ReparameterizeError(f"cannot expand {idle[0]}: a forward pass of the model does not reach it")
    return replace_blocks(model, InferenceBlock, lambda _, block: built[id(block)])
