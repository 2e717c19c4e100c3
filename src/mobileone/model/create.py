"""Build a network by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Literal, overload

from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.features import FeatureExtractor
from mobileone.model.network import MobileOne
from mobileone.task import Task
from mobileone.variants import VARIANTS, Form, Variant, get_variant


def list_models(pattern: str = "*") -> list[str]:
    """Names `create_model` knows, filtered by a shell pattern.

    >>> list_models("*s?")
    ['mobileone_s0', 'mobileone_s1', 'mobileone_s2', 'mobileone_s3', 'mobileone_s4']
    """
    return fnmatch.filter(VARIANTS, pattern)


@overload
def create_model(
    variant: str | Variant,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    form: Form = "train",
    output_stride: int = 32,
    input_spec: InputSpec | None = None,
    class_names: Sequence[str] | None = None,
    task: Task = "singlelabel",
    features_only: Literal[False] = False,
    out_indices: None = None,
) -> MobileOne: ...


@overload
def create_model(
    variant: str | Variant,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    form: Form = "train",
    output_stride: int = 32,
    input_spec: InputSpec | None = None,
    class_names: Sequence[str] | None = None,
    task: Task = "singlelabel",
    features_only: Literal[True],
    out_indices: Sequence[int] | None = None,
) -> FeatureExtractor: ...


def create_model(
    variant: str | Variant,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    form: Form = "train",
    output_stride: int = 32,
    input_spec: InputSpec | None = None,
    class_names: Sequence[str] | None = None,
    task: Task = "singlelabel",
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> MobileOne | FeatureExtractor:
    """A network with fresh weights; `load_model` is for trained ones.

    Args:
        variant: a name of `list_models()`, or a `Variant` of your own.
        num_classes: length of the logits; 0 gives pooled features.
        in_chans: channels of the input image.
        form: `"train"` (branches) or `"inference"` (one convolution a unit).
        output_stride: 32 as published; 16 or 8 put dilation in place of the last strides.
        input_spec: pre-processing the network expects; default ImageNet's at 224 px.
        class_names: one name a class.
        task: `"singlelabel"` or `"multilabel"`, what the logits mean.
        features_only: build a `FeatureExtractor`, which returns feature maps, as timm's option does.
        out_indices: with features_only, the levels to return, 0 (stem) to 4; default all.

    Raises:
        ConfigError: on an unknown name (with the nearest known one) or impossible options.

    >>> sum(p.numel() for p in create_model("mobileone_s0", form="inference").parameters())
    2078504
    >>> backbone = create_model("mobileone_s1", features_only=True, out_indices=(2, 3, 4))
    >>> backbone.feature_info.reduction()
    [8, 16, 32]
    """
    variant = get_variant(variant)
    if features_only:
        return FeatureExtractor(
            variant,
            in_chans=in_chans,
            form=form,
            output_stride=output_stride,
            out_indices=out_indices,
            input_spec=input_spec,
        )
    if out_indices is not None:
        raise ConfigError("out_indices needs features_only=True")
    return MobileOne(
        variant,
        num_classes=num_classes,
        in_chans=in_chans,
        form=form,
        output_stride=output_stride,
        input_spec=input_spec,
        class_names=class_names,
        task=task,
    )
