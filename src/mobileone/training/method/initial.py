"""The network as a run finds it before its first step."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.published import ORIGIN_KEY, began_with
from mobileone.data.loader import eval_loader
from mobileone.data.pixels import normalize
from mobileone.data.source import ImageSource
from mobileone.errors import ConfigError
from mobileone.imagenet import resolve_classes
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec
from mobileone.model.block import MobileOneBlock
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.reparam.expand import expand
from mobileone.reparam.fuse import reparameterize
from mobileone.training.config.train_config import TrainConfig
from mobileone.variants import get_variant

PROBE_IMAGES = 32

BRANCH_GAIN, IDENTITY_BIAS = 0.2, 1.0


def start_residual_(model: nn.Module) -> None:
    """Set fresh BatchNorms so that a unit starts as its identity branch and a little of the others; in place.

    By default every branch has unit variance, so a unit's output is a sum of up to six of them, the signal of
    its input fades, and gradients grow towards the stem (S0, 64 digits at 32 px: norm 1.6 in the last kernel,
    390 in the first, uncorrelated between batches), which a short run cannot overcome. Here branches beside
    an identity branch get a gain of 0.2, and the identity is shifted by 1, so that ReLU lets most of it
    through; units without one average their branches. What the network can compute and its state dict are
    the same.

    Args:
        model: in train form, with fresh weights.
    """
    for block in model.modules():
        if not isinstance(block, MobileOneBlock):
            continue
        gain = 1 / block.spec.num_branches if block.identity is None else BRANCH_GAIN
        scale = [] if block.conv_scale is None else [block.conv_scale]
        for branch in [*block.conv_kxk, *scale]:
            nn.init.constant_(branch.bn.weight, gain)
        if block.identity is not None:
            nn.init.constant_(block.identity.bias, IDENTITY_BIAS)


def initial_model(config: TrainConfig, source: ImageSource) -> MobileOne:
    """The network for the classes of `source`, at random or from `config.init`, in `config.form`.

    Weights in the other form are fused, or get their branches back with statistics of real images. A head
    for other classes is replaced by a fresh one. Randomness comes from `config.seed`, through torch's own
    generator.

    Raises:
        ConfigError: if the weights are of another network than `config.model`.
        CheckpointError: if the weights cannot be loaded.
    """
    torch.manual_seed(config.seed)
    classes = tuple(source.classes)
    spec = config.input_spec
    if config.init is None:
        assert config.model is not None
        fresh = create_model(
            config.model, num_classes=len(classes), input_spec=spec, class_names=classes, task=config.task
        )
        if config.residual_start:
            start_residual_(fresh)
        _start_head_(fresh, config)
        return fresh
    model = load_model(config.init, weights_key=config.init_weights_key)
    if config.form == "inference" and model.form == "train":
        model = reparameterize(model.eval())
    if config.model is not None and replace(get_variant(config.model), name="") != replace(
        model.variant, name=""
    ):
        raise ConfigError(
            f"init={config.init} holds {model.variant.name}, model is {get_variant(config.model).name}; "
            "set model=none to take the network of init"
        )
    model.decision = None  # of weights that will change
    # What is the data's: how it is looked at. What is the weights': the statistics that they were trained on.
    model.input_spec = replace(spec, mean=model.input_spec.mean, std=model.input_spec.std)
    if model.form != config.form:
        expanded = expand(model, _probe(source, model.input_spec, config), seed=config.seed)
        assert isinstance(expanded, MobileOne)
        model = expanded
    known = resolve_classes(model.num_classes, model.class_names)
    # Logits that excluded one another are no start for labels that do not, and the other way round.
    if model.num_classes != len(classes) or known not in (None, classes) or model.task != config.task:
        model.reset_classifier(len(classes), class_names=classes)
        _start_head_(model, config)
    model.class_names, model.task = classes, config.task
    return model


def origin_of(config: TrainConfig) -> dict[str, str]:
    """What a run's models say of the published weights that it began with, for `extra` of `save_model`.

    Weights keep their licence through any number of runs. Empty where none are known.
    """
    if config.init is None:
        return {}
    weights = began_with(config.init, describe(config.init, weights_key=config.init_weights_key).metadata)
    return {} if weights is None else {ORIGIN_KEY: weights.name}


def _start_head_(model: MobileOne, config: TrainConfig) -> None:
    """A fresh head for a loss that takes every class on its own: each starts at a probability of 1/K.

    At 1/2 the first loss is K·log 2, nearly all of it from classes that are not there, and its gradient
    throws the network off (the prior of arXiv 1708.02002, section 3.3).
    """
    head = model.get_classifier()
    if config.loss != "cross_entropy" and isinstance(head, nn.Linear) and head.out_features > 1:
        nn.init.constant_(head.bias, -math.log(head.out_features - 1))


def _probe(source: ImageSource, spec: InputSpec, config: TrainConfig) -> Tensor:
    """Normalised images from all over the training set, (≤ 32, C, H, W)."""
    loader = eval_loader(
        source,
        EvalTransform.from_spec(spec),
        batch_size=PROBE_IMAGES,
        world_size=max(len(source) // PROBE_IMAGES, 1),  # takes every n-th image
        on_bad_image=config.loading.on_bad_image,
    )
    return normalize(next(iter(loader)).images, spec)
