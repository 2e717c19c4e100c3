"""Find the weights, and our config, in the tree a pickle became. Imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from mobileone.checkpoint.archive import is_name
from mobileone.checkpoint.config import CONFIG_KEY, FORMAT_VERSION, ModelConfig
from mobileone.checkpoint.pickle_values import Record, TensorRef
from mobileone.checkpoint.published import BEGAN_KEY, LICENCE_KEY
from mobileone.decision import Decision
from mobileone.errors import CheckpointError
from mobileone.input_spec import InputSpec
from mobileone.variants import BlockSpec, Variant

OWN_MODULES = "mobileone.model."
OWN_NETWORKS = ("mobileone.model.network.MobileOne", "mobileone.model.features.FeatureExtractor")
# What a unit is built with beside its spec and its tensors.
_PARTS = {
    "act": ("torch.nn.modules.activation.ReLU",),
    "attn": ("torch.nn.modules.linear.Identity", "mobileone.model.block.SqueezeExcite"),
}
_SETTINGS = {"eps": 1e-5, "padding_mode": "zeros"}
_WINDOW = ("stride", "padding", "dilation")
_UNTOLD = "which its weights do not tell; build the network, change it alike, and load its state_dict()"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")

MAX_WRAPPERS = 4
MAX_CONTAINERS = 10_000
_TABLES = ("_parameters", "_buffers", "_modules")
MAX_MODULES = 10_000
MAX_DEPTH = 32


def find_tables(tree: object, *, source: Path) -> dict[str, dict[str, TensorRef]]:
    """Every table of named tensors in a pickled tree, under its key (dotted, empty at the top).

    A pickled module becomes the state dict it would have. Each object counts once, wherever it stands. What
    is in a table beside its tensors, an epoch say, is left out.

    Raises:
        CheckpointError: if there is no table.
    """
    tables: dict[str, dict[str, TensorRef]] = {}
    pending: deque[tuple[str, int, Any]] = deque([("", 0, tree)])
    seen: set[int] = set()
    reason = f"its content is {_kind(tree)}, not weights"
    if isinstance(tree, dict):
        keys = ", ".join(str(key) for key in list(tree)[:4] if is_name(key)) or "none"
        reason = f"no weights in it; its keys: {keys}"
    while pending and len(seen) < MAX_CONTAINERS:
        key, depth, value = pending.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if is_module(value):
            try:
                tables[key] = dict(_module_tensors(value, source=source))
            except CheckpointError as error:
                reason = str(error).removeprefix(f"cannot read {source}: ")
            continue
        items = _items(value)
        if tensors := {name: item for name, item in items.items() if isinstance(item, TensorRef)}:
            tables[key] = tensors
        if depth < MAX_WRAPPERS:
            pending += [
                (f"{key}.{name}".lstrip("."), depth + 1, item)
                for name, item in items.items()
                if isinstance(item, dict | Record)
            ]
    if not any(tables.values()):
        raise CheckpointError(f"cannot read {source}: {reason}")
    return tables


def is_module(value: object) -> bool:
    """Whether a record is a pickled module's."""
    return isinstance(value, Record) and isinstance(value.state, dict) and "_modules" in value.state


def _items(value: object) -> dict[str, Any]:
    """What stands under proper names in a dictionary, or in an object that is like one or holds things."""
    items: dict[Any, Any] = {}
    if isinstance(value, dict):
        items = value
    elif isinstance(value, Record):
        items = {**(value.state if isinstance(value.state, dict) else {}), **value.entries}
    return {name: item for name, item in items.items() if is_name(name)}


def _kind(value: object) -> str:
    if isinstance(value, Record):
        return f"of class {value.name}"
    return "a tensor" if isinstance(value, TensorRef) else f"of type {type(value).__name__}"


def _module_tensors(module: Record, *, source: Path) -> Iterator[tuple[str, TensorRef]]:
    """What `state_dict()` of the pickled module would hold, in its order."""
    pending: list[tuple[str, int, Any, dict[str, Any] | None]] = [("", 0, module, None)]
    for _ in range(MAX_MODULES):
        if not pending:
            return
        prefix, depth, record, settings = pending.pop()
        state = record.state if isinstance(record, Record) and isinstance(record.state, dict) else {}
        tables = [state.get(name) for name in _TABLES]
        if not all(isinstance(table, dict) for table in tables) or depth > MAX_DEPTH:
            raise CheckpointError(
                f"cannot read {source}: {prefix.rstrip('.')[:80]!r} in it is {_kind(record)}, "
                "no module with weights"
            )
        parameters, buffers, children = (state[name] for name in _TABLES)
        settings = _refuse_changed(record, prefix, settings, source=source)
        transient = state.get("_non_persistent_buffers_set") or ()
        for name, value in [*parameters.items(), *buffers.items()]:
            if isinstance(value, TensorRef) and name not in transient:
                if not is_name(f"{prefix}{name}"):
                    raise CheckpointError(f"cannot read {source}: a module in it has no proper name")
                yield f"{prefix}{name}", value
        for name, child in reversed(children.items()):
            if child is not None:
                pending.append((f"{prefix}{name}.", depth + 1, child, settings))
    raise CheckpointError(f"cannot read {source}: more than {MAX_MODULES} modules")


def _refuse_changed(
    record: Record, prefix: str, settings: dict[str, Any] | None, *, source: Path
) -> dict[str, Any] | None:
    """A module of ours computes more than its tensors tell only where somebody has changed it.

    Args:
        record: of the module.
        prefix: of its tensors' names.
        settings: that torch's layers have in it, as the module of ours around it says; None outside of ours.
        source: the file, for the message.

    Returns:
        Those of the modules in it.
    """
    where, state = prefix.rstrip("."), record.state
    if not record.name.startswith(OWN_MODULES):
        is_full = where.endswith("reparam_conv") or ".conv_kxk." in f".{prefix}"
        for name, wanted in (settings or {}).items():
            if name not in state or (name in _WINDOW and not is_full):
                continue
            given, built = _plain(state[name]), _plain(wanted)
            if given is None or given != built:
                raise CheckpointError(
                    f"cannot read {source}: {where} in it has {name}={given!r:.40}, not {built!r:.40}, "
                    f"{_UNTOLD}"
                )
        return settings
    for name, kinds in _PARTS.items():
        part = state["_modules"].get(name)
        if part is not None and _name(part) not in kinds:
            raise CheckpointError(f"cannot read {source}: {prefix}{name} in it is {_kind(part)}, {_UNTOLD}")
    if any(state.get(hooks) for hooks in _HOOKS):
        raise CheckpointError(
            f"cannot read {source}: {where or 'the network'} in it has hooks, which are code; "
            "save its state_dict() instead"
        )
    spec = _fields(state.get("spec"), BlockSpec)
    return (settings or _SETTINGS) | {name: spec[name] for name in _WINDOW if name in spec}


def _name(value: object) -> str:
    return value.name if isinstance(value, Record) else ""


def _plain(value: object) -> tuple[object, ...] | None:
    """A setting as it can be compared and printed: tuples of tuples of a hostile file could take for ever."""
    flat = value if type(value) is tuple else (value,)
    return flat if len(flat) <= 2 and all(type(part) in (int, float, str) for part in flat) else None


def _fields(value: object, kind: type) -> dict[str, Any]:
    """Of a pickled dataclass with slots, by name."""
    state = value.state if isinstance(value, Record) else None
    return (
        dict(zip((field.name for field in fields(kind)), state, strict=False)) if type(state) is list else {}
    )


def find_config(tree: object, *, source: Path) -> ModelConfig:
    """Our own config, else that of a pickled network of ours, else the class names that mmpretrain leaves.

    Raises:
        CheckpointError: if there is a config of ours that makes no sense.
    """
    if isinstance(tree, Record):
        return _config_of_module(tree, source=source)
    if not isinstance(tree, dict):
        return ModelConfig()
    meta = tree.get("meta")
    for holder in (tree, meta):
        if isinstance(holder, dict) and CONFIG_KEY in holder:
            return ModelConfig.from_dict(holder[CONFIG_KEY], source=source)
    dataset = meta.get("dataset_meta") if isinstance(meta, dict) else None
    names = (dataset.get("classes") or dataset.get("CLASSES")) if isinstance(dataset, dict) else None
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return ModelConfig(class_names=tuple(names))
    said = [_config_of_module(value, source=source) for value in tree.values() if is_module(value)]
    return said[0] if said and all(each == said[0] for each in said) else ModelConfig()


def _config_of_module(module: Record, *, source: Path) -> ModelConfig:
    """What a pickled network of ours says of itself, wherever it is wrapped."""
    network = _own_network(module)
    if network is None:
        return ModelConfig()
    state = network.state
    said: dict[str, Any] = {name: state.get(name) for name in ("num_classes", "in_chans", "output_stride")}
    said |= {"format_version": FORMAT_VERSION, "class_names": state.get("_class_names")}
    said |= {"task": state.get("task", "singlelabel")}
    kept = {LICENCE_KEY: state.get("licence"), BEGAN_KEY: state.get("began_with")}
    said |= {"extra": {key: value for key, value in kept.items() if is_name(value)}}
    for name, kind in (("variant", Variant), ("input_spec", InputSpec)):
        said[name] = _fields(state.get(name), kind) or None
    config = ModelConfig.from_dict(said, source=source)
    decided = state.get("_decided")
    if not isinstance(decided, tuple) or len(decided) != 2:
        return config
    decision, spec = _fields(decided[0], Decision), _fields(decided[1], InputSpec)
    fitted = ModelConfig.from_dict(said | {"decision": decision, "input_spec": spec}, source=source)
    # As `MobileOne.decision` has it: of a network that looks at images in another way it is none.
    return fitted if fitted.input_spec == config.input_spec else config


def _own_network(module: Record) -> Record | None:
    """The first network of ours in a pickled module, as its tensors come: the module itself, or a part."""
    pending: list[Any] = [module]
    seen: set[int] = set()
    while pending and len(seen) < MAX_MODULES:
        record: Record = pending.pop()
        if not is_module(record) or id(record) in seen:
            continue
        seen.add(id(record))
        if record.name in OWN_NETWORKS:
            return record
        children = record.state["_modules"]
        pending += reversed(children.values()) if isinstance(children, dict) else ()
    return None
