"""One door for every model: a name, a run folder, a file of any format, the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, overload

import torch
from torch import Tensor

from mobileone.checkpoint.config import ModelConfig
from mobileone.checkpoint.contents import Contents
from mobileone.checkpoint.inspect import Inspected, ModelCard, inspect
from mobileone.checkpoint.pickle_values import ITEM_SIZES
from mobileone.checkpoint.published import began_with, licence_of
from mobileone.checkpoint.recognition import Recognised
from mobileone.errors import CheckpointError, ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.features import FeatureExtractor
from mobileone.model.network import MobileOne
from mobileone.precision import check_dtype
from mobileone.ranks.device import check_device
from mobileone.reparam.expand import expand
from mobileone.reparam.fuse import reparameterize
from mobileone.variants import Form, check_count


@overload
def load_model(
    source: str | os.PathLike[str],
    *,
    form: Form | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    weights_key: str | None = None,
    features_only: Literal[False] = False,
    out_indices: None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> MobileOne: ...


@overload
def load_model(
    source: str | os.PathLike[str],
    *,
    form: Form | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    weights_key: str | None = None,
    features_only: Literal[True],
    out_indices: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> FeatureExtractor: ...


def load_model(
    source: str | os.PathLike[str],
    *,
    form: Form | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    weights_key: str | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> MobileOne | FeatureExtractor:
    """A model with its weights, from anywhere, in eval mode; nothing in a file is ever executed.

    A file's container, tensor names, form, variant, classes and channels are recognised from its content.

    Args:
        source: a variant's name (fresh weights), a published name (`mobileone weights` lists them),
            `hf:owner/name[@revision]`, a run folder (its best weights, else its last), a folder with
            config.json and weights, or a checkpoint file of any known format.
        form: None keeps the file's. `"inference"` fuses a train-form file, exactly. `"train"` expands a
            fused one: the same function, with branches that can be trained on.
        num_classes: None keeps the file's head; another number than the file's gives a fresh head.
        in_chans: None keeps the file's; another number adapts the stem, so that an image whose channels
            are all alike gives the same features.
        weights_key: which weights to take of a file that has several (raw and averaged ones), by their key;
            None takes averaged ones before raw ones, and a `MobileOneWarning` says so.
        features_only: give the trunk as a `FeatureExtractor`.
        out_indices: with features_only, the levels to return.
        device: where the model goes.
        dtype: of its floating-point weights; None keeps the file's.

    Returns:
        The model, with its input spec and class names where they are known.

    Raises:
        CheckpointError: if the source is not found, cannot be read, or holds another network.
        DownloadError: if published weights cannot be had.
        ConfigError: if an option makes no sense, such as a device that is not here, or some do not fit
            together.

    >>> load_model("mobileone_s0", num_classes=10, form="inference")(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 10])
    """
    _check_options(form, num_classes, in_chans, dtype)
    device = check_device(device)
    if out_indices is not None and not features_only:
        raise ConfigError("out_indices needs features_only=True")
    model = _make(
        inspect(source, weights_key=weights_key),
        form=form,
        num_classes=num_classes,
        in_chans=in_chans,
        features_only=features_only,
        out_indices=out_indices,
    )
    return model.to(device=device, dtype=dtype).eval()


def load_with_card(
    source: str | os.PathLike[str],
    *,
    form: Form | None = None,
    dtype: torch.dtype | None = torch.float32,
    weights_key: str | None = None,
) -> tuple[MobileOne, ModelCard]:
    """What `load_model` and `describe` give, from one look at the file.

    Args:
        source: as of `load_model`.
        form: of the model, likewise; the card says what the source holds.
        dtype: likewise.
        weights_key: likewise.

    Raises:
        CheckpointError: as `load_model`.
        ConfigError: on another form.

    >>> model, card = load_with_card("mobileone_s0", form="inference")
    >>> model.form, card.form
    ('inference', 'train')
    """
    _check_options(form, None, None, dtype)
    inspected = inspect(source, weights_key=weights_key)
    model = _make(
        inspected, form=form, num_classes=None, in_chans=None, features_only=False, out_indices=None
    )
    assert isinstance(model, MobileOne)
    return model.to(dtype=dtype).eval(), inspected.card()


def _check_options(
    form: Form | None, num_classes: int | None, in_chans: int | None, dtype: torch.dtype | None
) -> None:
    for name, value, least in (("num_classes", num_classes, 0), ("in_chans", in_chans, 1)):
        if value is not None:
            check_count(value, name, least=least)
    if form not in (None, "train", "inference"):
        raise ConfigError(f"form must be train or inference, got {form!r}")
    if dtype is not None:
        check_dtype(dtype)


def _make(
    inspected: Inspected,
    *,
    form: Form | None,
    num_classes: int | None,
    in_chans: int | None,
    features_only: bool,
    out_indices: Sequence[int] | None,
) -> MobileOne | FeatureExtractor:
    """The model on the CPU, with the file's weights and in their precision; fresh where there is no file."""
    contents, found, config = inspected.contents, inspected.found, inspected.config
    if contents is None:
        fresh = ModelConfig(
            variant=found.variant,
            form=form or found.form,
            num_classes=found.num_classes if num_classes is None else num_classes,
            in_chans=in_chans or found.in_chans,
        )
        return _build(fresh, features_only=features_only, out_indices=out_indices)
    state = _read_state(contents, found, table=inspected.selection.table if inspected.selection else "")
    if in_chans is not None and in_chans != found.in_chans:
        state, config = _adapt_stem(state, config, in_chans)
    model = _build(config, features_only=features_only, out_indices=out_indices)
    wanted = model.state_dict().keys()
    model.load_state_dict({name: state[name] for name in wanted}, assign=True)
    model.licence = licence_of(inspected.source, found.layout, config.extra)
    weights = began_with(inspected.source, config.extra)
    model.began_with = None if weights is None else weights.name
    if isinstance(model, MobileOne) and in_chans in (None, found.in_chans):
        model.decision = config.decision
    if isinstance(model, MobileOne) and num_classes not in (None, found.num_classes):
        model.reset_classifier(num_classes or 0)
    return _in_form(model.eval(), found.form, form)


def _build(
    config: ModelConfig, *, features_only: bool, out_indices: Sequence[int] | None
) -> MobileOne | FeatureExtractor:
    assert config.variant is not None
    assert config.in_chans is not None
    assert config.form is not None
    if features_only:
        return create_model(
            config.variant,
            in_chans=config.in_chans,
            form=config.form,
            output_stride=config.output_stride,
            input_spec=config.input_spec,
            features_only=True,
            out_indices=out_indices,
        )
    assert config.num_classes is not None
    return create_model(
        config.variant,
        num_classes=config.num_classes,
        in_chans=config.in_chans,
        form=config.form,
        output_stride=config.output_stride,
        input_spec=config.input_spec,
        class_names=config.class_names,
        task=config.task,
    )


def _read_state(contents: Contents, found: Recognised, *, table: str) -> dict[str, Tensor]:
    """The tensors under timm's names, checked."""
    for name in found.names.values():
        dtype = getattr(contents.tables[table][name], "dtype", None)
        if dtype not in ITEM_SIZES:
            raise CheckpointError(f"{contents.path}: {name} must be floating point, got {dtype}")
    read = contents.read(table, list(found.names.values()))
    state = {}
    for name, original in found.names.items():
        tensor = read[original]
        if name.endswith("num_batches_tracked"):
            state[name] = tensor.to(torch.int64)
            continue
        if not tensor.is_floating_point():
            raise CheckpointError(f"{contents.path}: {original} must be floating point, got {tensor.dtype}")
        # One NaN or infinite value makes the sum so; in float64 finite weights cannot.
        if not tensor.sum(dtype=torch.float64).isfinite():
            raise CheckpointError(
                f"{contents.path}: {original} has NaN or infinite values; the file is no use"
            )
        state[name] = tensor
    for name in [name for name in state if name.endswith("running_mean")]:
        state.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return state


def _adapt_stem(
    state: dict[str, Tensor], config: ModelConfig, in_chans: int
) -> tuple[dict[str, Tensor], ModelConfig]:
    """Spread the sum of the stem's kernels evenly over another number of channels."""
    adapted = dict(state)
    for name, kernel in state.items():
        if name.startswith("stem.") and kernel.ndim == 4:
            total = kernel.double().sum(1, keepdim=True)
            adapted[name] = (total / in_chans).to(kernel.dtype).repeat(1, in_chans, 1, 1)
    spec = config.input_spec or InputSpec()
    default = InputSpec.for_channels(in_chans, size=spec.size)
    spec = replace(spec, mean=default.mean, std=default.std)
    return adapted, replace(config, in_chans=in_chans, input_spec=spec)


def _in_form(
    model: MobileOne | FeatureExtractor, holds: Form, wanted: Form | None
) -> MobileOne | FeatureExtractor:
    if wanted is None or wanted == holds:
        return model
    if wanted == "inference":
        return reparameterize(model)
    return expand(model)
