"""Open a model and say what it is, without reading its weights, and without torch."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

from mobileone.checkpoint.config import ModelConfig
from mobileone.checkpoint.contents import Contents, open_contents
from mobileone.checkpoint.layouts import some
from mobileone.checkpoint.recognition import Recognised, expected_shapes, num_parameters
from mobileone.checkpoint.resolve import resolve
from mobileone.checkpoint.selection import AVERAGED_COUNTER, Selection, select
from mobileone.decision import Decision
from mobileone.errors import CheckpointError, ConfigError, MobileOneWarning
from mobileone.input_spec import InputSpec
from mobileone.task import Task
from mobileone.variants import Form, Variant


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is known of a model before its weights are read.

    Attributes:
        source: as it was given.
        path: the file with the weights; None for fresh weights.
        container: `safetensors`, `torch zip`, `torch legacy`, or `none` for fresh weights.
        format: whose tensor names it has: `timm`, `apple`, `mmpretrain` or `reference`.
        form: `"train"` or `"inference"`.
        variant: the network.
        num_classes: length of the logits, 0 without a head.
        in_chans: channels of the input image.
        class_names: one name a class, None where the file has none.
        task: what the logits mean, `"singlelabel"` where the file does not say.
        input_spec: pre-processing, as the file or its publisher states it, else ImageNet's.
        decision: how logits become probabilities and a sure answer; None where it was not calibrated.
        output_stride: 32, or 16 or 8 for a network with dilation.
        num_parameters: trained elements.
        size_bytes: of the file, 0 for fresh weights.
        metadata: what the writer added: epoch, accuracy.
        weights_key: under which key the weights stand in the file, `.` at its top; None for fresh weights.
        other_weights: keys of other networks in the file, which `weights_key` would choose.
        beside: names of tensors in the file that are not the network's, and not read.
    """

    source: str
    path: str | None
    container: str
    format: str
    form: Form
    variant: Variant
    num_classes: int
    in_chans: int
    class_names: tuple[str, ...] | None
    task: Task
    input_spec: InputSpec
    decision: Decision | None
    output_stride: int
    num_parameters: int
    size_bytes: int
    metadata: dict[str, Any]
    weights_key: str | None
    other_weights: tuple[str, ...]
    beside: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {
            "variant": self.variant.to_dict(),
            "class_names": self.class_names and list(self.class_names),
            "input_spec": self.input_spec.to_dict(),
            "decision": self.decision and self.decision.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """A model found, opened and understood; its weights are not read yet.

    Attributes:
        source: as it was given.
        contents: the file; None for fresh weights.
        found: the network that the tensors are, or that fresh weights are made for.
        config: everything said about it; of a file, every field is filled in.
        selection: which of the file's weights; None for fresh weights.
    """

    source: str
    contents: Contents | None
    found: Recognised
    config: ModelConfig
    selection: Selection | None = None

    def card(self) -> ModelCard:
        """What is known of it, as plain values."""
        found, contents = self.found, self.contents
        shapes = expected_shapes(
            found.variant, form=found.form, num_classes=found.num_classes, in_chans=found.in_chans
        )
        return ModelCard(
            source=self.source,
            path=str(contents.path) if contents else None,
            container=contents.container if contents else "none",
            format=found.layout,
            form=found.form,
            variant=found.variant,
            num_classes=found.num_classes,
            in_chans=found.in_chans,
            class_names=self.config.class_names,
            task=self.config.task,
            input_spec=self.config.input_spec or InputSpec.for_channels(found.in_chans),
            decision=self.config.decision,
            output_stride=self.config.output_stride,
            num_parameters=num_parameters(shapes),
            size_bytes=contents.size_bytes if contents else 0,
            metadata=self.config.extra,
            weights_key=self.selection.key if self.selection else None,
            other_weights=self.selection.others if self.selection else (),
            beside=found.beside,
        )


def inspect(source: str | os.PathLike[str], *, weights_key: str | None = None) -> Inspected:
    """Find a model, open its file, recognise the network in it, and hold everything said about it together.

    Args:
        source: anything `load_model` takes.
        weights_key: which weights to take of a file that has several; None takes averaged ones first, and
            a `MobileOneWarning` says so.

    Raises:
        CheckpointError: if there is no such model, it is no MobileOne, contradicts its own config, or has no
            weights under that key.
    """
    resolved = resolve(source)
    if resolved.variant is not None:
        if weights_key is not None:
            raise CheckpointError(
                f"{source} has fresh weights, and nothing to choose by weights_key={weights_key!r}"
            )
        fresh = Recognised(
            layout="timm", variant=resolved.variant, form="train", num_classes=1000, in_chans=3, names={}
        )
        return Inspected(source=resolved.source, contents=None, found=fresh, config=resolved.config)
    assert resolved.path is not None
    contents = open_contents(resolved.path)
    config = contents.config.filled_from(resolved.config)
    selection = select(contents.tables, config=config, weights_key=weights_key, source=resolved.path)
    found = selection.found
    _warn(selection, source=resolved.path, chosen=weights_key is not None)
    if resolved.published and found.variant.name != resolved.published.variant:
        raise CheckpointError(
            f"{resolved.path}: holds {found.variant.name}, published as {resolved.published.variant}"
        )
    config = agreed(config, found, source=resolved.path)
    return Inspected(
        source=resolved.source, contents=contents, found=found, config=config, selection=selection
    )


def _warn(selection: Selection, *, source: object, chosen: bool) -> None:
    """Say what was taken where there was a choice, and what was left where it is no part of the network."""
    if selection.others and not chosen:
        unfit = f" (no whole network: {some(selection.unfit)})" if selection.unfit else ""
        _note(
            f"{source}: took the weights under {selection.key}; there are others under "
            f"{', '.join(selection.others)}{unfit}; weights_key chooses"
        )
    elif selection.unfit and not chosen:
        _note(
            f"{source}: took the weights under {selection.key}; those under {', '.join(selection.unfit)} are "
            "no whole network"
        )
    left = [name for name in selection.found.beside if not name.endswith(AVERAGED_COUNTER)]
    if left and not (selection.others or selection.unfit):
        _note(f"{source}: tensors beside the network were left out: {some(left)}")


def _note(text: str) -> None:
    warnings.warn(text, MobileOneWarning, stacklevel=5)


def agreed(config: ModelConfig, found: Recognised, *, source: object) -> ModelConfig:
    """The config with every field filled in from the tensors.

    Our own files must agree with themselves. What other programs leave beside a file is a hint: class names
    or an input spec of another size are dropped.

    Raises:
        CheckpointError: if our own config has another number of classes or channels.
    """
    names, spec = config.class_names, config.input_spec
    if names and len(names) != found.num_classes:
        if config.variant is not None:
            raise CheckpointError(f"{source}: has {len(names)} class names for {found.num_classes} classes")
        names = None
    if spec and spec.in_chans != found.in_chans:
        if config.variant is not None:
            raise CheckpointError(
                f"{source}: its input spec has {spec.in_chans} channels, its stem {found.in_chans}"
            )
        spec = None
    if config.decision is not None:
        try:
            config.decision.check(found.num_classes)
        except ConfigError as error:
            raise CheckpointError(f"{source}: {error}") from error
    return ModelConfig(
        variant=found.variant,
        form=found.form,
        num_classes=found.num_classes,
        in_chans=found.in_chans,
        class_names=names,
        task=config.task,
        input_spec=spec or InputSpec.for_channels(found.in_chans),
        decision=config.decision,
        output_stride=config.output_stride,
        extra=config.extra,
        package_version=config.package_version,
    )


def describe(source: str | os.PathLike[str], *, weights_key: str | None = None) -> ModelCard:
    """What a model is, from names and shapes alone; anything `load_model` takes, and its `weights_key`.

    Raises:
        CheckpointError: if there is no such model, or it is none.

    >>> describe("mobileone_s0").num_parameters
    5293272
    """
    return inspect(source, weights_key=weights_key).card()
