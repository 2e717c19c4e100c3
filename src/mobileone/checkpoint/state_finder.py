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
from mobileone.errors import CheckpointError
from mobileone.input_spec import InputSpec
from mobileone.variants import Variant

OWN_MODULES = "mobileone.model."
OWN_NETWORK = "mobileone.model.network.MobileOne"
RELU = "torch.nn.modules.activation.ReLU"
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
    pending: list[tuple[str, int, Any]] = [("", 0, module)]
    for _ in range(MAX_MODULES):
        if not pending:
            return
        prefix, depth, record = pending.pop()
        state = record.state if isinstance(record, Record) and isinstance(record.state, dict) else {}
        tables = [state.get(name) for name in _TABLES]
        if not all(isinstance(table, dict) for table in tables) or depth > MAX_DEPTH:
            raise CheckpointError(
                f"cannot read {source}: {prefix.rstrip('.')[:80]!r} in it is {_kind(record)}, "
                "no module with weights"
            )
        parameters, buffers, children = (state[name] for name in _TABLES)
        _refuse_changed(record, prefix, source=source)
        transient = state.get("_non_persistent_buffers_set") or ()
        for name, value in [*parameters.items(), *buffers.items()]:
            if isinstance(value, TensorRef) and name not in transient:
                if not is_name(f"{prefix}{name}"):
                    raise CheckpointError(f"cannot read {source}: a module in it has no proper name")
                yield f"{prefix}{name}", value
        for name, child in reversed(children.items()):
            if child is not None:
                pending.append((f"{prefix}{name}.", depth + 1, child))
    raise CheckpointError(f"cannot read {source}: more than {MAX_MODULES} modules")


def _refuse_changed(record: Record, prefix: str, *, source: Path) -> None:
    """A module of ours computes more than its tensors tell only where somebody has changed it."""
    if not record.name.startswith(OWN_MODULES):
        return
    children = record.state["_modules"]
    act = children.get("act")
    if act is not None and _name(act) != RELU:
        raise CheckpointError(
            f"cannot read {source}: {prefix}act in it is {_kind(act)}, which its weights do not tell; build "
            "the network, change it alike, and load its state_dict()"
        )
    if any(record.state.get(hooks) for hooks in _HOOKS):
        raise CheckpointError(
            f"cannot read {source}: {prefix.rstrip('.') or 'the network'} in it has hooks, which are code; "
            "save its state_dict() instead"
        )


def _name(value: object) -> str:
    return value.name if isinstance(value, Record) else ""


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
    modules = [value for value in tree.values() if is_module(value)]
    return _config_of_module(modules[0], source=source) if len(modules) == 1 else ModelConfig()


def _config_of_module(module: Record, *, source: Path) -> ModelConfig:
    """What a pickled network of ours says of itself, wherever it is wrapped."""
    for _ in range(MAX_DEPTH):
        if not is_module(module) or module.name == OWN_NETWORK:
            break
        children = module.state["_modules"]
        if not isinstance(children, dict) or len(children) != 1:
            break
        module = next(iter(children.values()))
    if not is_module(module) or module.name != OWN_NETWORK:
        return ModelConfig()
    state = module.state
    said: dict[str, Any] = {name: state.get(name) for name in ("num_classes", "in_chans", "output_stride")}
    said |= {"format_version": FORMAT_VERSION, "class_names": state.get("_class_names")}
    said |= {"task": state.get("task", "singlelabel")}
    for name, kind in (("variant", Variant), ("input_spec", InputSpec)):
        record = state.get(name)
        if isinstance(record, Record) and isinstance(record.state, list):
            said[name] = dict(zip((field.name for field in fields(kind)), record.state, strict=False))
    return ModelConfig.from_dict(said, source=source)
