"""From any format to any other, every tensor accounted for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from mobileone.checkpoint.config import CONFIG_KEY
from mobileone.checkpoint.layouts import LayoutName, from_timm
from mobileone.checkpoint.load import load_with_card
from mobileone.checkpoint.reference_port import ReferencePickle, reference_module
from mobileone.checkpoint.store import PICKLE_SUFFIXES, config_of, plain_tensors, save_model, write_pickle
from mobileone.errors import CheckpointError, ConfigError
from mobileone.variants import Form


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    to: LayoutName,
    form: Form | None = None,
    weights_key: str | None = None,
) -> Path:
    """Write a model in another project's format, in the file's own precision.

    `timm` is our own: .safetensors, .pt or .pth, or a folder for the hub. `apple` is a plain state dict,
    `mmpretrain` a state dict with `meta`, `reference` a pickled module that the reference port's code loads;
    these three are .pt, .pth or .pth.tar files. Class names and input spec go along, except to `apple`,
    which has no place for them.

    Args:
        source: anything `load_model` takes.
        output: the file to write.
        to: whose format.
        form: None keeps the source's; `"inference"` fuses, `"train"` expands.
        weights_key: which weights of the source, as of `load_model`.

    Returns:
        The path written.

    Raises:
        CheckpointError: if the source cannot be read, the suffix does not fit, or the format cannot hold it.
        MobileOneError: if the file cannot be written.
    """
    if to not in get_args(LayoutName):
        raise ConfigError(f"unknown format {to!r}; known: {', '.join(get_args(LayoutName))}")
    target = Path(output)
    if to != "timm" and target.suffix not in PICKLE_SUFFIXES:
        raise CheckpointError(f"{to} checkpoints are .pt, .pth or .pth.tar files, got {target}")
    model, card = load_with_card(source, form=form, dtype=None, weights_key=weights_key)
    extra = card.metadata
    if to == "timm":
        return save_model(model, output, extra=extra)
    if model.output_stride != 32:
        raise CheckpointError(
            f"{to} checkpoints cannot hold the dilation of output_stride={model.output_stride}"
        )
    tensors = plain_tensors(model.state_dict())
    config = config_of(model, extra=extra).to_dict()
    if to == "reference":
        content = {"model": reference_module(model, tensors), CONFIG_KEY: config}
        write_pickle(content, target, pickle_module=ReferencePickle)
    elif to == "mmpretrain":
        classes = {"classes": model.class_names} if model.class_names else {}
        meta = {"dataset_meta": classes, CONFIG_KEY: config}
        write_pickle({"meta": meta, "state_dict": from_timm(tensors, to)}, target)
    else:
        write_pickle(from_timm(tensors, to), target)
    return target
