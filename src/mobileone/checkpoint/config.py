"""What a checkpoint says about itself besides its tensors, in our own files and the hub's. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mobileone.checkpoint.archive import describe_error, is_name
from mobileone.decision import Decision
from mobileone.errors import CheckpointError, ConfigError
from mobileone.input_spec import InputSpec, Interpolation, square_or_sides
from mobileone.limits import JSON_BYTES
from mobileone.outside_text import require_unicode
from mobileone.regular_file import parse_json_text
from mobileone.task import Task, checked_task
from mobileone.variants import VARIANTS, Form, Variant

FORMAT_VERSION = 1
# Our key in a safetensors header, a pickled dict, mmpretrain's meta and config.json.
CONFIG_KEY = "mobileone"
# More branches than any network has; a file that asks for more wants memory, not a model.
MAX_CONV_BRANCHES = 64


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The words beside the weights. Every field may be missing: foreign files hold tensors alone.

    Attributes:
        variant: the network; the tensors have the last word on it.
        form: `"train"` or `"inference"`, likewise.
        num_classes: length of the logits, likewise.
        in_chans: channels of the input image, likewise.
        class_names: one name a class.
        task: what the logits mean; `"singlelabel"` where a file does not say.
        input_spec: pre-processing the network expects.
        decision: how logits become probabilities and a sure answer.
        output_stride: 32, or 16 or 8 for a network with dilation.
        extra: whatever the writer added: epoch, accuracy, source.
        package_version: of the mobileone that wrote the file.
    """

    variant: Variant | None = None
    form: Form | None = None
    num_classes: int | None = None
    in_chans: int | None = None
    class_names: tuple[str, ...] | None = None
    task: Task = "singlelabel"
    input_spec: InputSpec | None = None
    decision: Decision | None = None
    output_stride: int = 32
    extra: dict[str, Any] = field(default_factory=dict)
    package_version: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON.

        >>> ModelConfig(num_classes=10).to_dict()["num_classes"]
        10
        """
        return {
            "format_version": FORMAT_VERSION,
            "package_version": self.package_version,
            "variant": self.variant and self.variant.to_dict(),
            "form": self.form,
            "num_classes": self.num_classes,
            "in_chans": self.in_chans,
            "class_names": self.class_names and list(self.class_names),
            "task": self.task,
            "input_spec": self.input_spec and self.input_spec.to_dict(),
            "decision": self.decision and self.decision.to_dict(),
            "output_stride": self.output_stride,
            "extra": self.extra,
        }

    @classmethod
    def from_dict(cls, values: object, *, source: object) -> ModelConfig:
        """The config that `to_dict` wrote, from a file that may hold anything.

        Args:
            values: what `to_dict` gave.
            source: the file, for the message.

        Raises:
            CheckpointError: if the values are not a config, or come from a later format.
        """
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{source}: its config must be an object, got {type(values).__name__}")
        if _written_size(values, at_most=JSON_BYTES.value) > JSON_BYTES.value:
            raise CheckpointError(f"{source}: its config is larger than {JSON_BYTES} would be in JSON")
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{source}: its config has format_version {str(version)[:20]!r}, this mobileone reads "
                f"{FORMAT_VERSION}; upgrade mobileone"
            )
        try:
            return cls(
                variant=_variant(values.get("variant")),
                form=_form(values.get("form")),
                num_classes=_count(values, "num_classes"),
                in_chans=_count(values, "in_chans"),
                class_names=_names(values.get("class_names")),
                task=checked_task(values.get("task", "singlelabel")),
                input_spec=_input_spec(values.get("input_spec")),
                decision=_decision(values.get("decision")),
                output_stride=_output_stride(values),
                extra=_extra(values.get("extra")),
                package_version=str(values.get("package_version")),
            )
        except (TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
            raise CheckpointError(
                f"{source}: its config does not describe a model: {describe_error(error)}"
            ) from error

    def filled_from(self, other: ModelConfig) -> ModelConfig:
        """This config where it says anything, `other` where it does not."""
        if self.variant is not None:
            return self
        return replace(
            other,
            class_names=self.class_names or other.class_names,
            input_spec=self.input_spec or other.input_spec,
        )

    def to_hub(self) -> dict[str, Any]:
        """The content of a config.json that timm and the Hugging Face hub understand, and we in full."""
        assert self.variant is not None
        spec = self.input_spec or InputSpec.for_channels(self.in_chans or 3)
        head = "reparam_conv" if self.form == "inference" else "conv_kxk.0.conv"
        first = [f"stem.{head}"] + ([] if self.form == "inference" else ["stem.conv_scale.conv"])
        names = {"label_names": list(self.class_names)} if self.class_names else {}
        # What timm calls its network with; without it, it would compute another function of the same weights.
        # Its units are not dilated, which only 8 needs: there it must not find the network at all.
        dilation = {} if self.output_stride == 32 else {"model_args": {"output_stride": self.output_stride}}
        return {
            "architecture": self.variant.name + ("_output_stride_8" if self.output_stride == 8 else ""),
            "num_classes": self.num_classes,
            "num_features": self.variant.num_features,
            **names,
            **dilation,
            "pretrained_cfg": {
                "input_size": [spec.in_chans, spec.height, spec.width],
                "interpolation": spec.interpolation,
                "crop_pct": 1.0 if spec.fit == "letterbox" else spec.crop,
                "crop_mode": "border" if spec.fit == "letterbox" else "center",
                "mean": list(spec.mean),
                "std": list(spec.std),
                "num_classes": self.num_classes,
                "first_conv": first,
                "classifier": "head.fc",
            },
            CONFIG_KEY: self.to_dict(),
        }


def from_hub(text: str, *, source: object) -> ModelConfig:
    """Read a config.json of ours, of timm's, or of timm's older flat kind.

    Raises:
        CheckpointError: if it is not JSON or describes another network.
    """
    values = parse_json(text, source=source)
    if CONFIG_KEY in values:
        return ModelConfig.from_dict(values[CONFIG_KEY], source=source)
    architecture = str(values.get("architecture", ""))
    if architecture.split(".")[0] not in VARIANTS:
        raise CheckpointError(f"{source}: describes {architecture[:40]!r}, not one of {', '.join(VARIANTS)}")
    nested = values.get("pretrained_cfg")
    cfg: Mapping[str, Any] = nested if isinstance(nested, Mapping) else values
    try:
        channels, height, width = (int(v) for v in cfg.get("input_size", (3, 224, 224)))
        size = square_or_sides(height, width)
        default = InputSpec.for_channels(channels, size=size)
        method = cfg.get("interpolation")
        interpolation: Interpolation = method if method in ("bilinear", "bicubic") else default.interpolation
        crop = float(cfg.get("crop_pct") or default.crop)
        spec = InputSpec(
            size=size,
            crop=crop,
            fit="letterbox" if cfg.get("crop_mode") == "border" and crop == 1 else "crop",
            interpolation=interpolation,
            mean=tuple(cfg.get("mean") or default.mean),
            std=tuple(cfg.get("std") or default.std),
        )
        labels = values.get("label_names") or cfg.get("label_names") or cfg.get("labels")
        return ModelConfig(input_spec=spec, class_names=_names(labels))
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"{source}: cannot be read as a timm config: {describe_error(error)}"
        ) from error


def parse_json(text: str, *, source: object) -> dict[str, Any]:
    """JSON that must be an object.

    Raises:
        CheckpointError: if it is something else.
    """
    try:
        values = parse_json_text(text)
    except ValueError as error:
        raise CheckpointError(f"{source}: is not valid JSON: {describe_error(error)}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{source}: must hold a JSON object, got {type(values).__name__}")
    return values


def _count(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise ConfigError(f"{name} must be a whole number, got {value!r}")
    return value


def _written_size(value: object, *, at_most: int) -> int:
    """Bytes, about, of a value written out, counted until they are too many.

    A pickle's tuples may hold one another many times over: a few hundred bytes, and no end in a message.
    """
    pending, size = [value], 0
    while pending and size <= at_most:
        part = pending.pop()
        size += 16 + (len(part) if isinstance(part, str | bytes) else 0)
        if isinstance(part, Mapping):
            pending += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            pending += part
    return size


def _extra(value: Any) -> dict[str, Any]:
    extra = dict(value or {})
    json.dumps(extra, allow_nan=False, default=str)  # raises where `info --json` would
    return extra


def _output_stride(values: Mapping[str, Any]) -> int:
    value = _count(values, "output_stride") or 32
    if value not in (8, 16, 32):
        raise ConfigError(f"output_stride must be 8, 16 or 32, got {value}")
    return value


def _decision(value: object) -> Decision | None:
    return None if value is None else Decision.from_dict(value)


def _form(value: object) -> Form | None:
    if value is None:
        return None
    if value == "train":
        return "train"
    if value == "inference":
        return "inference"
    raise ConfigError(f"form must be train or inference, got {value!r}")


def _names(value: object) -> tuple[str, ...] | None:
    if not value:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ConfigError("class names must be a list of strings")
    for name in value:
        require_unicode(name, what="a class name")
    return tuple(value)


def _variant(value: object) -> Variant | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ConfigError(f"variant must be an object, got {type(value).__name__}")
    fields: dict[str, Any] = {str(k): tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    variant = Variant(**fields)
    if not is_name(variant.name):
        raise ConfigError("a variant needs a name in one line")
    if variant.num_conv_branches > MAX_CONV_BRANCHES:
        raise ConfigError(f"num_conv_branches must be at most {MAX_CONV_BRANCHES}")
    return variant


def _input_spec(value: object) -> InputSpec | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ConfigError(f"input_spec must be an object, got {type(value).__name__}")
    return InputSpec(**{str(key): v for key, v in value.items()})
