"""Train form to inference form, exactly: every branch of a unit merged into one convolution."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from mobileone.errors import ReparameterizeError
from mobileone.functional.fold import embed_pointwise, fold_batch_norm, identity_pointwise
from mobileone.model.alterations import alteration, branch_alteration
from mobileone.model.block import InferenceBlock, MobileOneBlock
from mobileone.model.wrapped import unwrap
from mobileone.precision import check_dtype
from mobileone.variants import BlockSpec

M = TypeVar("M", bound=nn.Module)
INSTEAD = "it is built anew from its spec and weights, which do not tell that; undo it first"


def blocks_of(model: nn.Module, kind: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Every block of that class with its dotted name; a block used twice comes up twice."""
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, kind):
            yield name, module


def replace_blocks(model: M, kind: type[nn.Module], build: Callable[[str, nn.Module], nn.Module]) -> M:
    """A deep copy of `model` in which every block of class `kind` is what `build(name, block)` gives.

    A block that stands in several places is built once and shared again.
    """
    built: dict[int, nn.Module] = {}
    for name, block in blocks_of(model, kind):
        if id(block) not in built:
            built[id(block)] = build(name, block)
    # Preset memo entries make deepcopy put the new block wherever it meets the old one.
    memo = dict(built)
    clone: M = copy.deepcopy(model, memo)
    return clone


def _fold(
    bn: nn.BatchNorm2d, kernel: Tensor, name: str, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Kernel and bias of the BatchNorm behind a convolution of that kernel (float64) and bias."""
    if bn.running_mean is None or bn.running_var is None:
        raise ReparameterizeError(f"cannot fuse {name}: its BatchNorm keeps no running statistics")
    exact = [
        None if value is None else value.detach().to(kernel.device, kernel.dtype)
        for value in (bn.running_mean, bn.running_var, bn.weight, bn.bias)
    ]
    mean, var, gamma, beta = exact
    assert mean is not None
    assert var is not None
    if bias is not None:
        mean = mean - bias.detach().to(kernel.device, kernel.dtype)
    return fold_batch_norm(kernel, mean=mean, var=var, gamma=gamma, beta=beta, eps=bn.eps)


def _float64(weight: Tensor) -> Tensor:
    # MPS has no float64; kernels are small, so such devices fold on the host.
    device = "cpu" if weight.device.type == "mps" else weight.device
    return weight.detach().to(device, torch.float64)


def merge_branches(block: MobileOneBlock, name: str = "block") -> tuple[Tensor, Tensor]:
    """Kernel (C_out, C_in / groups, kh, kw) and bias (C_out,) of the whole unit, in float64.

    Raises:
        ReparameterizeError: if a branch is not what the spec says, cannot be folded, or the result is not
            finite.
    """
    spec: BlockSpec = block.spec
    reason = branch_alteration(block)
    if reason:
        raise ReparameterizeError(f"cannot fuse {name}: its {reason}; {INSTEAD}")
    parts = [
        _fold(branch.bn, _float64(branch.conv.weight), name, bias=branch.conv.bias)
        for branch in block.conv_branches
    ]
    if block.conv_scale is not None:
        conv = block.conv_scale.conv
        kernel, bias = _fold(block.conv_scale.bn, _float64(conv.weight), name, bias=conv.bias)
        parts.append((embed_pointwise(kernel, spec.kernel), bias))
    if block.identity is not None:
        pointwise = identity_pointwise(spec.in_channels, spec.groups, like=parts[0][0])
        kernel, bias = _fold(block.identity, pointwise, name)
        parts.append((embed_pointwise(kernel, spec.kernel), bias))
    kernel = torch.stack([k for k, _ in parts]).sum(0)
    bias = torch.stack([b for _, b in parts]).sum(0)
    if not (kernel.isfinite().all() and bias.isfinite().all()):
        raise ReparameterizeError(f"cannot fuse {name}: its folded kernel has NaN or infinite values")
    return kernel, bias


def fuse_block(
    block: MobileOneBlock, *, dtype: torch.dtype | None = None, name: str = "block"
) -> InferenceBlock:
    """The inference form of one unit, in eval mode, on its device; `dtype` None keeps the weights' own.

    Attention and activation are copied, whatever they are. A unit whose branches are all frozen stays so.

    Raises:
        ReparameterizeError: if the unit was changed so that its spec and weights do not tell what it
            computes (a hook, a method, a convolution's settings), or cannot be folded.
    """
    reason = alteration(block, MobileOneBlock)
    if reason:
        raise ReparameterizeError(f"cannot fuse {name}: it {reason}; {INSTEAD}")
    kernel, bias = merge_branches(block, name)
    like = block.conv_branches[0].conv.weight
    with torch.device("meta"):
        fused = InferenceBlock(block.spec)
    branches = [p for name, p in block.named_parameters() if not name.startswith(("attn.", "act."))]
    is_trained = any(parameter.requires_grad for parameter in branches)
    for name, value in (("weight", kernel), ("bias", bias)):
        tensor = value.to(like.device, dtype or like.dtype)
        setattr(fused.reparam_conv, name, nn.Parameter(tensor, requires_grad=is_trained))
    fused.attn, fused.act = copy.deepcopy(block.attn), copy.deepcopy(block.act)
    return fused.eval()


def refuse_training(model: nn.Module, *, doing: str) -> None:
    """Refuse a model whose batches would change it, or its answers.

    Raises:
        ReparameterizeError: naming the first module in training mode.
    """
    # The root comes first: a model in training mode is named as such, not by its innermost layer.
    for name, module in model.named_modules():
        if module.training and (
            name == "" or isinstance(module, MobileOneBlock | nn.modules.batchnorm._BatchNorm)
        ):
            where = f"{name} ({type(module).__name__})" if name else type(module).__name__
            raise ReparameterizeError(f"cannot {doing} {where} in training mode; call model.eval() first")


def reparameterize(model: M, *, dtype: torch.dtype | None = None) -> M:
    """A new model in which every train-form unit is one convolution; `model` is left as it is.

    Works on any module that contains `MobileOneBlock` units, a detector for instance. Folding is in float64.

    Args:
        model: in eval mode throughout. DataParallel, DistributedDataParallel, torch.compile and
            AveragedModel around it are taken off.
        dtype: of the new model's floating-point weights; None keeps what they have.

    Returns:
        The new model, in eval mode, on the same devices; of the same class, or an `InferenceBlock` where
        `model` is itself a `MobileOneBlock`.

    Raises:
        ReparameterizeError: if a module is in training mode (named), if there is nothing to fuse, if a unit
            was changed so that fusing would lose it (see `fuse_block`), or if a folded kernel is not finite.
        ConfigError: if `dtype` is no floating-point type.

    >>> from mobileone import create_model
    >>> fused = reparameterize(create_model("mobileone_s0").eval())
    >>> fused.form, len(fused.state_dict())
    ('inference', 88)
    """
    if dtype is not None:
        check_dtype(dtype)
    model = unwrap(model)
    refuse_training(model, doing="reparameterize")
    if next(blocks_of(model, MobileOneBlock), None) is None:
        done = next(blocks_of(model, InferenceBlock), None) is not None
        what = "is in inference form already" if done else "contains no MobileOneBlock"
        raise ReparameterizeError(f"nothing to reparameterize: the {type(model).__name__} {what}")

    def build(name: str, block: nn.Module) -> nn.Module:
        assert isinstance(block, MobileOneBlock)
        return fuse_block(block, dtype=dtype, name=name or type(block).__name__)

    fused = replace_blocks(model, MobileOneBlock, build)
    return fused if dtype is None else fused.to(dtype)
