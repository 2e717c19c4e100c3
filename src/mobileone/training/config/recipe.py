"""Named recipes: each a function that returns a full `TrainConfig`. Imports no torch.

Results stated are top-1 / top-5 in percent on ImageNet-1k's 50,000 validation images, as published by the
paper's authors for the recipe; runs of this package say so.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace

from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.training.config.augmentation import Augment, Phase
from mobileone.training.config.objective import Objective
from mobileone.training.config.optimization import Optim
from mobileone.training.config.probe import Probe
from mobileone.training.config.resources import Loading
from mobileone.training.config.train_config import TrainConfig
from mobileone.variants import get_variant

ADAPTIVE = Optim(
    name="adamw",
    base_lr=1e-3,
    min_lr=0.0,
    warmup_epochs=1,
    weight_decay=0.05,
    weight_decay_end=0.05,
    ema_decay=0.998,
)
"""For short runs of AdamW and Muon: the average remembers some 500 steps."""


def reference() -> TrainConfig:
    """The reference command line's: S0, 256 images a rank, half precision, bilinear or bicubic crops.

    Its learning rate follows the number of ranks, 0.1 for every 256 images a step.
    """
    return TrainConfig(
        model="mobileone_s0",
        data="ImageNet",
        epochs=300,
        batch_size=256,
        augment=Augment(interpolation=("bilinear", "bicubic")),
        optim=Optim(base_lr=0.1, min_lr=1e-4),
    )


def _paper(variant: str) -> TrainConfig:
    """arXiv 2206.04040, appendix: 8 GPUs of 32 images, learning rate 0.1, crop and flip."""
    return TrainConfig(
        model=variant,
        data="ImageNet",
        epochs=300,
        batch_size=32,
        input_spec=InputSpec(crop=0.875),
        optim=Optim(base_lr=0.1, min_lr=0.0),
    )


def _paper_progressive(variant: str) -> TrainConfig:
    """The same with AutoAugment, its strength and the image size rising in three phases.

    The phases are mmpretrain's: epochs 0–36, 37–111 and 112–299 of 300.
    """
    return replace(
        _paper(variant),
        progressive=(
            Phase(until=37 / 300, size=160, strength=0.3),
            Phase(until=112 / 300, size=192, strength=0.7),
        ),
        augment=Augment(policy="auto"),
    )


def paper_s0() -> TrainConfig:
    """S0 as in the paper: 71.4 / 89.9."""
    return _paper("mobileone_s0")


def paper_s1() -> TrainConfig:
    """S1 as in the paper: 75.8 / 92.8."""
    return _paper("mobileone_s1")


def paper_s2() -> TrainConfig:
    """S2 as in the paper: 77.4 / 93.2."""
    return _paper_progressive("mobileone_s2")


def paper_s3() -> TrainConfig:
    """S3 as in the paper: 77.9 / 93.9."""
    return _paper_progressive("mobileone_s3")


def paper_s4() -> TrainConfig:
    """S4 as in the paper: 79.3 / 94.4."""
    return _paper_progressive("mobileone_s4")


def digits() -> TrainConfig:
    """S0 on scikit-learn's handwritten digits."""
    return TrainConfig(
        model="mobileone_s0",
        data="digits",
        epochs=12,
        batch_size=64,
        residual_start=True,
        input_spec=InputSpec(size=32, crop=1.0),
        augment=Augment(crop_scale=(0.8, 1.0), flip=0.0, interpolation=("bilinear", "bicubic")),
        optim=Optim(base_lr=0.2, min_lr=0.0, warmup_epochs=1),
        loading=Loading(num_workers=0),
    )


def imagenette() -> TrainConfig:
    """S0 from scratch on a small set of small photos (Imagenette: ten classes, 9,469 images of 128 px).

    One convolution branch a unit: under Muon several move alike, so they are a higher rate at a higher price
    (docs/results.md). Fused it is S0. The crop of evaluation shows objects as large as random crops do.
    """
    return TrainConfig(
        model=replace(get_variant("mobileone_s0"), name="mobileone_s0_k1", num_conv_branches=1),
        data="imagenette",
        epochs=20,
        batch_size=64,
        residual_start=True,
        input_spec=InputSpec(size=128, crop=0.875),
        progressive=(Phase(until=0.3, size=96), Phase(until=0.6, size=112)),
        augment=Augment(crop_scale=(0.35, 1.0)),
        optim=replace(ADAPTIVE, name="muon", base_lr=0.05, warmup_epochs=0.5),
    )


def finetune() -> TrainConfig:
    """From published S0 weights to images of your own: the head first, by a probe, then everything.

    What is trained is the fused network, which starts from exactly what the probe saw.
    """
    return TrainConfig(
        model=None,
        init="mobileone_s0.apple_in1k",
        form="inference",
        data="data",
        epochs=30,
        batch_size=64,
        input_spec=InputSpec(crop=1.0),
        augment=Augment(crop_scale=(0.25, 1.0)),
        optim=replace(ADAPTIVE, name="adamw", base_lr=8e-4),
        probe=Probe(views="plain", then_train=True),
    )


def linear_probe() -> TrainConfig:
    """A classifier of published S0 features that stay as they are: computed once, then a convex fit."""
    return TrainConfig(
        model=None,
        init="mobileone_s0.apple_in1k",
        data="data",
        epochs=1,
        batch_size=64,
        input_spec=InputSpec(crop=1.0),
        objective=Objective(label_smoothing=0.0),
        probe=Probe(views="plain"),
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    function.__name__: function
    for function in (
        reference,
        paper_s0,
        paper_s1,
        paper_s2,
        paper_s3,
        paper_s4,
        digits,
        imagenette,
        finetune,
        linear_probe,
    )
}


FOR_YOUR_DATA = ("finetune", "linear_probe")
"""Recipes that the command adapts to the data (see `adapt`)."""


def recipe(name: str) -> TrainConfig:
    """The recipe of that name.

    Raises:
        ConfigError: on an unknown name, with the nearest known one.

    >>> recipe("digits").data
    'digits'
    """
    if name in RECIPES:
        return RECIPES[name]()
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"unknown recipe {name!r}{hint} (known: {', '.join(RECIPES)})")
