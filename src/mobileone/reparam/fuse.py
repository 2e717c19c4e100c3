"""Train form to inference form, exactly: every branch of a unit merged into one convolution."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from mobileone.errors import ReparameterizeError
from mobileone.functional.fold import embed_pointwise, fold_batch_norm, identity_pointwise
from mobileone.model.block import InferenceBlock, MobileOneBlock
from mobileone.variants import BlockSpec

M = TypeVar("M", bound=nn.Module)


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


def _fold(bn: nn.Module, kernel: Tensor, name: str) -> tuple[Tensor, Tensor]:
    if not isinstance(bn, nn.modules.batchnorm._BatchNorm):
        raise ReparameterizeError(f"cannot fuse {name}: its norm is {type(bn).__name__}, not BatchNorm")
    if bn.running_mean is None or bn.running_var is None:
        raise ReparameterizeError(f"cannot fuse {name}: its BatchNorm keeps no running statistics")
    exact = [
        None if value is None else value.detach().to(kernel.device, kernel.dtype)
        for value in (bn.running_mean, bn.running_var, bn.weight, bn.bias)
    ]
    mean, var, gamma, beta = exact
    assert mean is not None
    assert var is not None
    return fold_batch_norm(kernel, mean=mean, var=var, gamma=gamma, beta=beta, eps=bn.eps)


def _float64(weight: Tensor) -> Tensor:
    # MPS has no float64; kernels are small, so such devices fold on the host.
    device = "cpu" if weight.device.type == "mps" else weight.device
    return weight.detach().to(device, torch.float64)


def merge_branches(block: MobileOneBlock, name: str = "block") -> tuple[Tensor, Tensor]:
    """Kernel (C_out, C_in / groups, kh, kw) and bias (C_out,) of the whole unit, in float64.

    Raises:
        ReparameterizeError: if a branch cannot be folded or the result is not finite.
    """
    spec: BlockSpec = block.spec
    parts = [_fold(branch.bn, _float64(branch.conv.weight), name) for branch in block.conv_branches]
    if block.conv_scale is not None:
        kernel, bias = _fold(block.conv_scale.bn, _float64(block.conv_scale.conv.weight), name)
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
    """The inference form of one unit, in eval mode, on its device; `dtype` None keeps the weights' own."""
    kernel, bias = merge_branches(block, name)
    like = block.conv_branches[0].conv.weight
    with torch.device("meta"):
        fused = InferenceBlock(block.spec)
    fused.reparam_conv.weight = nn.Parameter(kernel.to(like.device, dtype or like.dtype))
    fused.reparam_conv.bias = nn.Parameter(bias.to(like.device, dtype or like.dtype))
    fused.attn = copy.deepcopy(block.attn)
    return fused.eval()


def _refuse_training(model: nn.Module) -> None:
    # The root comes first: a model in training mode is named as such, not by its innermost layer.
    for name, module in model.named_modules():
        if module.training and (
            name == "" or isinstance(module, MobileOneBlock | nn.modules.batchnorm._BatchNorm)
        ):
            where = f"{name} ({type(module).__name__})" if name else type(module).__name__
            raise ReparameterizeError(
                f"cannot reparameterize {where} in training mode; call model.eval() first"
            )


def reparameterize(model: M, *, dtype: torch.dtype | None = None) -> M:
    """A new model in which every train-form unit is one convolution; `model` is left as it is.

    Works on any module that contains `MobileOneBlock`s, a detector for instance. Folding is in float64.

    Args:
        model: in eval mode throughout.
        dtype: of the new model's floating-point weights; None keeps what they have.

    Returns:
        The new model, in eval mode, on the same devices; of the same class, or an `InferenceBlock` where
        `model` is itself a `MobileOneBlock`.

    Raises:
        ReparameterizeError: if a module is in training mode (named), if there is nothing to fuse, or if a
            folded kernel is not finite.

    >>> from mobileone.model.create import create_model
    >>> fused = reparameterize(create_model("mobileone_s0").eval())
    >>> fused.form, len(fused.state_dict())
    ('inference', 88)
    """
    _refuse_training(model)
    if next(blocks_of(model, MobileOneBlock), None) is None:
        done = next(blocks_of(model, InferenceBlock), None) is not None
        what = "is in inference form already" if done else "contains no MobileOneBlock"
        raise ReparameterizeError(f"nothing to reparameterize: the {type(model).__name__} {what}")

    def build(name: str, block: nn.Module) -> nn.Module:
        assert isinstance(block, MobileOneBlock)
        return fuse_block(block, dtype=dtype, name=name or type(block).__name__)

    fused = replace_blocks(model, MobileOneBlock, build)
    return fused if dtype is None else fused.to(dtype)
