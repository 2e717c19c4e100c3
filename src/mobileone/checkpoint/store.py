"""Write models and resume files, whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mobileone.atomic import atomic_path
from mobileone.checkpoint.config import CONFIG_KEY, ModelConfig
from mobileone.checkpoint.pickle_values import TORCH_NAMES
from mobileone.checkpoint.published import BEGAN_KEY, LICENCE_KEY
from mobileone.checkpoint.resume_file import SCALARS, read_resume_file
from mobileone.errors import CheckpointError
from mobileone.model.network import MobileOne
from mobileone.model.wrapped import as_network
from mobileone.outside_text import require_unicode
from mobileone.reparam.as_built import require_as_built

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
_DTYPES = {getattr(torch, name) for name in TORCH_NAMES.values()}
PICKLE_SUFFIXES = (".pt", ".pth", ".tar", ".bin")


def plain_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each with memory of its own in the standard layout (channels_last weights too)."""
    return {
        key: value.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
    }


def config_of(model: MobileOne, *, extra: Mapping[str, Any] | None = None) -> ModelConfig:
    """What is written beside the weights of `model`."""
    from mobileone import __version__

    kept = {LICENCE_KEY: model.licence, BEGAN_KEY: model.began_with}
    return ModelConfig(
        variant=model.variant,
        form=model.form,
        num_classes=model.num_classes,
        in_chans=model.in_chans,
        class_names=model.class_names,
        task=model.task,
        input_spec=model.input_spec,
        decision=model.decision,
        output_stride=model.output_stride,
        extra={key: value for key, value in kept.items() if value} | dict(extra or {}),
        package_version=__version__,
    )


def save_model(
    model: MobileOne, path: str | os.PathLike[str], *, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write a model: weights, variant, form, classes and input spec. The suffix decides the kind.

    `.safetensors` is one file that holds everything. `.pt`, `.pth` and `.pth.tar` hold
    `{"state_dict": tensors, "mobileone": config}` and read with `torch.load(weights_only=True)`. A path
    without suffix, or an existing folder, becomes a folder with model.safetensors and config.json, as the
    Hugging Face hub and timm want it.

    Args:
        model: in either form, on any device; what DataParallel, DistributedDataParallel, torch.compile and
            AveragedModel wrap is taken out.
        path: where to.
        extra: values that JSON can hold, kept with the model: epoch, accuracy, source.

    Returns:
        The path written.

    Raises:
        CheckpointError: on another suffix, an `extra` that JSON cannot hold, or a model that could not be
            loaded as it is: with a part that its variant, form and head do not tell (another activation, a
            hook, a head of another kind), or with NaN or infinite weights.
        ConfigError: if it is no MobileOne.
        MobileOneError: if the file cannot be written.

    >>> import tempfile
    >>> from mobileone import load_model, create_model
    >>> model = create_model("mobileone_s0", num_classes=10, form="inference")
    >>> path = save_model(model, Path(tempfile.mkdtemp()) / "digits.safetensors", extra={"epoch": 3})
    >>> load_model(path).num_classes
    10
    """
    target = Path(path)
    require_unicode(target, what="the file to save to")
    model = as_network(model, wanted="save_model takes a MobileOne")
    require_as_built(
        model,
        doing="save",
        error=CheckpointError,
        instead="undo that, or save its state_dict with torch.save",
    )
    config = config_of(model, extra=extra)
    try:
        text = json.dumps(config.to_dict(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"cannot save {target}: extra must hold JSON values: {error}") from error
    ModelConfig.from_dict(json.loads(text), source=f"cannot save {target}")  # what loading would refuse
    tensors = plain_tensors(model.state_dict())
    for name, value in tensors.items():
        if value.is_floating_point() and not value.sum(dtype=torch.float64).isfinite():
            raise CheckpointError(f"cannot save {target}: {name} has NaN or infinite values; it is no use")
    if target.is_dir() or not target.suffix or str(path).endswith(("/", os.sep)):
        _write_safetensors(tensors, target / WEIGHTS_NAME, text)
        with atomic_path(target / CONFIG_NAME) as temporary:
            temporary.write_text(json.dumps(config.to_hub(), indent=2) + "\n", encoding="utf-8")
    elif target.suffix == ".safetensors":
        _write_safetensors(tensors, target, text)
    elif target.suffix in PICKLE_SUFFIXES:
        write_pickle({"state_dict": tensors, CONFIG_KEY: json.loads(text)}, target)
    else:
        raise CheckpointError(
            f"cannot save {target}: unknown suffix {target.suffix!r}; use .safetensors, .pt, .pth or a folder"
        )
    return target


def _write_safetensors(tensors: dict[str, Tensor], target: Path, config_text: str) -> None:
    with atomic_path(target) as temporary:
        try:
            # One key only: the library writes several in random order, and equal models give equal files.
            save_file(tensors, temporary, metadata={CONFIG_KEY: config_text})
        except SafetensorError as error:
            raise CheckpointError(f"cannot write {target}: {error}") from error


def write_pickle(content: object, target: Path, *, pickle_module: Any = pickle) -> None:
    """`torch.save` to a temporary file that then takes the place of `target`.

    Raises:
        CheckpointError: if torch cannot write it.
        MobileOneError: if the folder cannot be written.
    """
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        try:
            # To an open file: given a path, torch names the archive after it, and equal contents differ.
            torch.save(content, file, pickle_module=pickle_module)
        except (RuntimeError, pickle.PicklingError) as error:
            if isinstance(error.__context__, OSError):  # a full disk; torch only says "unexpected pos"
                raise error.__context__ from None
            raise CheckpointError(f"cannot write {target}: {error}") from error


def _refuse_objects(value: object, where: str) -> None:
    if type(value) in SCALARS or (isinstance(value, Tensor) and value.dtype in _DTYPES):
        return
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_objects(key, f"a key of {where}")
            _refuse_objects(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):  # type: ignore[arg-type]
            _refuse_objects(item, f"{where}[{index}]")
    else:
        kind = f"{value.dtype} tensor" if isinstance(value, Tensor) else type(value).__qualname__
        raise CheckpointError(
            f"cannot save {where}, a {kind}: a resume file holds tensors, numbers, "
            "strings, dicts, lists and tuples only; convert it first"
        )


def save_state(state: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write the state of a run, for resuming: nested dicts, lists and tuples of tensors and plain values.

    Raises:
        CheckpointError: on any other object in it, named, since `load_state` would refuse it.
        MobileOneError: if the file cannot be written.

    >>> import tempfile
    >>> path = save_state({"epoch": 3, "rng": torch.get_rng_state()}, Path(tempfile.mkdtemp()) / "last.state")
    >>> load_state(path)["epoch"]
    3
    """
    _refuse_objects(state, "state")
    target = Path(path)
    write_pickle(dict(state), target)
    return target


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_state` wrote, onto the CPU; nothing in the file is executed.

    Raises:
        CheckpointError: if the file is missing, damaged, or not such a file.
    """
    state = read_resume_file(Path(path))
    if not isinstance(state, dict):
        raise CheckpointError(f"cannot read {path}: holds a {type(state).__name__}, not the state of a run")
    return state
