"""Is a network what its variant, form and head say? Files and other runtimes keep no more than these."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobileone.errors import ConfigError, MobileOneError
from mobileone.model.alterations import alteration
from mobileone.model.features import FeatureExtractor, Network
from mobileone.model.network import MobileOne
from mobileone.variants import BlockSpec

# Settings that are not read in eval, or change no value.
IGNORED = frozenset({"training", "inplace", "momentum", "branch_mode"})

# What else can be done where a runtime's format is written.
INSTEAD = "undo that, or use the runtime's own converter"


def find_alteration(model: Network) -> str | None:
    """The first thing in a network that one built afresh from its variant, form, channels and head has not.

    Modules are compared by name with a fresh network's: class, methods, hooks, settings such as a
    BatchNorm's ε, and the names and shapes of tensors. Values of tensors are not looked at.

    Returns:
        Where and what, for people; None if there is nothing.

    >>> from mobileone.model.create import create_model
    >>> model = create_model("mobileone_s0")
    >>> find_alteration(model), setattr(model.stem, "act", nn.SiLU()), find_alteration(model)
    (None, None, 'stem.act is a SiLU, not a ReLU')
    """
    try:
        with torch.device("meta"):
            fresh = _fresh(model)
    except ConfigError as error:
        return f"it contradicts itself: {error}"
    wanted, given = dict(fresh.named_modules()), dict(model.named_modules())
    for name in [*wanted, *given]:
        where = name or "it"
        if name not in given:
            return f"{where} is missing"
        if name not in wanted:
            return f"{where}, a {type(given[name]).__name__}, is no part of it"
        reason = alteration(given[name], type(wanted[name])) or _other_setting(given[name], wanted[name])
        if reason:
            return f"{where} {reason}"
    return _other_tensor(model.state_dict(), fresh.state_dict())


def require_as_built(model: Network, *, doing: str, error: type[MobileOneError], instead: str) -> None:
    """Refuse a network of which a part would be lost.

    Args:
        model: the network.
        doing: what cannot be done with it: "save".
        error: to raise.
        instead: what can be done.

    Raises:
        MobileOneError: the class given, naming the part.
    """
    reason = find_alteration(model)
    if reason:
        raise error(
            f"cannot {doing} this {model.variant.name}, part of it would be lost: {reason}; {instead}"
        )


def _fresh(model: Network) -> Network:
    if isinstance(model, FeatureExtractor):
        return FeatureExtractor(
            model.variant,
            in_chans=model.in_chans,
            form=model.form,
            output_stride=model.output_stride,
            out_indices=model.out_indices,
            input_spec=model.input_spec,
        )
    return MobileOne(
        model.variant,
        num_classes=model.num_classes,
        in_chans=model.in_chans,
        form=model.form,
        output_stride=model.output_stride,
        input_spec=model.input_spec,
        class_names=model.class_names,
        task=model.task,
    )


def _other_setting(module: nn.Module, like: nn.Module) -> str | None:
    given = vars(module)
    for name, wanted in vars(like).items():
        plain = isinstance(wanted, bool | int | float | str | tuple | BlockSpec)
        if plain and not name.startswith("_") and name not in IGNORED and given.get(name, wanted) != wanted:
            return f"has {name}={given[name]!r}, not {wanted!r}"
    return None


def _other_tensor(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> str | None:
    for name in [*wanted, *given]:
        if name not in given:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name}, a tensor, is no part of it"
        if given[name].shape != wanted[name].shape:
            return f"{name} has shape {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        if given[name].is_floating_point() != wanted[name].is_floating_point():
            return f"{name} is {given[name].dtype}"
    return None
