"""What was done to a unit by hand, so that it computes something else than its spec and its weights say.

Fusing, expanding and online training build a unit anew from its spec and its weights. What stands in neither
would be lost without a word; these functions find it for all of them. Attention and activation are not
looked at: every form carries them as they are.
"""

from __future__ import annotations

from torch import nn

from mobileone.model.branches import BranchedUnit, ConvBN
from mobileone.model.sync_batch_norm import is_synchronised
from mobileone.variants import BlockSpec

# What a subclass may have of its own without computing anything else.
HARMLESS = frozenset({"__init__", "__repr__", "extra_repr"})
SETTINGS = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)


def has_hooks(module: nn.Module, *, backward: bool = False) -> bool:
    """Whether something is called before or behind the module's forward pass, or its backward pass too."""
    if module._forward_hooks or module._forward_pre_hooks:
        return True
    return backward and bool(module._backward_hooks or module._backward_pre_hooks)


def own_method(module: object) -> str | None:
    """A method of torch's or this package's that a subclass, or the object itself, replaces; or None.

    >>> relu = nn.ReLU()
    >>> own_method(relu), setattr(relu, "forward", abs), own_method(relu)
    (None, None, 'forward')
    """
    if "forward" in vars(module):
        return "forward"
    for kind in type(module).__mro__:
        if kind.__module__.partition(".")[0] in ("torch", "mobileone"):
            return None
        for name, value in vars(kind).items():
            inherited = any(hasattr(base, name) for base in kind.__bases__)
            if inherited and name not in HARMLESS and (callable(value) or isinstance(value, property)):
                return name
    return None


def alteration(module: nn.Module, kind: type[nn.Module], *, backward: bool = False) -> str | None:
    """Why a module does not compute what a class does, or None; its children are not looked at.

    Args:
        module: to look at.
        kind: the class expected; a subclass of the user's that changes no method is as good.
        backward: whether hooks of the backward pass count.

    >>> alteration(nn.SiLU(), nn.ReLU)
    'is a SiLU, not a ReLU'
    """
    given = type(module)
    if given is not kind and not (kind is nn.BatchNorm2d and is_synchronised(module)):
        # A subclass of torch's own is parametrized, or for quantised training.
        if not isinstance(module, kind) or given.__module__.startswith("torch."):
            return f"is a {given.__name__}, not a {kind.__name__}"
        method = own_method(module)
        if method:
            return f"is a {given.__name__} with a {method} of its own"
    if "forward" in vars(module):
        return "has a forward of its own"
    return "has a hook" if has_hooks(module, backward=backward) else None


def conv_alteration(conv: nn.Module, settings: tuple[object, ...], *, backward: bool = False) -> str | None:
    """Why a module is not the plain convolution with these SETTINGS, or None; a bias is not looked at."""
    reason = alteration(conv, nn.Conv2d, backward=backward)
    if reason:
        return reason
    # At once first: training asks at every step.
    shape = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    if (*shape, conv.groups, conv.padding_mode) == settings:
        return None
    for name, wanted in zip(SETTINGS, settings, strict=True):
        if getattr(conv, name) != wanted:
            return f"has {name}={getattr(conv, name)!r}, its unit's spec says {wanted!r}"
    return None


def full_settings(spec: BlockSpec) -> tuple[object, ...]:
    """SETTINGS of a unit's full-size convolution."""
    shape = (spec.in_channels, spec.out_channels, spec.kernel, spec.strides, spec.paddings, spec.dilations)
    return (*shape, spec.groups, "zeros")


def scale_settings(spec: BlockSpec) -> tuple[object, ...]:
    """SETTINGS of a unit's 1×1 convolution, which reads the pixels under the stride."""
    return (spec.in_channels, spec.out_channels, (1, 1), (1, 1), (0, 0), (1, 1), spec.groups, "zeros")


def branch_alteration(unit: BranchedUnit, *, backward: bool = False) -> str | None:
    """Why the branches are not plain convolutions with BatchNorm as the unit's spec has them, or None.

    Args:
        unit: in train form.
        backward: whether hooks of the backward pass count.

    Returns:
        What is different, beginning with the part's name in the unit.
    """
    full, spec = full_settings(unit.spec), unit.spec
    branches = [(f"conv_kxk.{i}", branch, full) for i, branch in enumerate(unit.conv_branches)]
    if unit.conv_scale is not None:
        branches.append(("conv_scale", unit.conv_scale, scale_settings(spec)))
    for name, branch, settings in branches:
        reason = alteration(branch, ConvBN, backward=backward)
        if reason:
            return f"{name} {reason}"
        parts = branch._modules  # what attributes of a module are found in, slowly
        conv, bn = parts["conv"], parts["bn"]
        assert conv is not None
        assert bn is not None
        reason = conv_alteration(conv, settings, backward=backward)
        if reason:
            return f"{name}.conv {reason}"
        reason = alteration(bn, nn.BatchNorm2d, backward=backward)
        if reason:
            return f"{name}.bn {reason}"
    reason = None if unit.identity is None else alteration(unit.identity, nn.BatchNorm2d, backward=backward)
    return f"identity {reason}" if reason else None
