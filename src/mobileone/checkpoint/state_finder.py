"""Find the weights, and our config, in the tree a pickle became. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobileone.checkpoint.archive import is_name
from mobileone.checkpoint.config import CONFIG_KEY, ModelConfig
from mobileone.checkpoint.pickle_values import Record, TensorRef
from mobileone.errors import CheckpointError

# Where weights lie in a training checkpoint: averaged ones before the raw ones, as timm reads it.
WRAPPER_KEYS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model", "module")
MAX_WRAPPERS = 4
_TABLES = ("_parameters", "_buffers", "_modules")
MAX_MODULES = 10_000
MAX_DEPTH = 32


def find_state(tree: object, *, source: Path) -> tuple[dict[str, TensorRef], str]:
    """The state dict in a pickled tree, and the key it was found under (dotted, empty at the top).

    A pickled module becomes the state dict it would have.

    Raises:
        CheckpointError: if there are no weights, or something else stands among them.
    """
    path: list[str] = []
    for _ in range(MAX_WRAPPERS):
        if isinstance(tree, Record):
            return dict(_module_tensors(tree, source=source)), ".".join(path)
        if not isinstance(tree, dict):
            break
        key = next((key for key in WRAPPER_KEYS if isinstance(tree.get(key), dict | Record)), None)
        if key is None:
            return _tensors_only(tree, source=source), ".".join(path)
        path.append(key)
        tree = tree[key]
    raise CheckpointError(f"cannot read {source}: its content is {_kind(tree)}, not weights")


def _kind(value: object) -> str:
    if isinstance(value, Record):
        return f"of class {value.name}"
    return "a tensor" if isinstance(value, TensorRef) else f"of type {type(value).__name__}"


def _tensors_only(tree: dict[Any, Any], *, source: Path) -> dict[str, TensorRef]:
    if not any(isinstance(value, TensorRef) for value in tree.values()):
        keys = ", ".join(str(key) for key in list(tree)[:4] if is_name(key)) or "none"
        raise CheckpointError(f"cannot read {source}: no weights in it; its keys: {keys}")
    for key, value in tree.items():
        if not is_name(key) or not isinstance(value, TensorRef):
            raise CheckpointError(
                f"cannot read {source}: {str(key)[:80]!r} among its weights is {_kind(value)}, "
                "not a named tensor"
            )
    return tree


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


def find_config(tree: object, *, source: Path) -> ModelConfig:
    """Our own config, else the class names that mmpretrain leaves, else nothing.

    Raises:
        CheckpointError: if there is a config of ours that makes no sense.
    """
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
    return ModelConfig()
