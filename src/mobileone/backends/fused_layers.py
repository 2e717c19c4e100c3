"""A fused network as plain data: what every format writes, whatever library it is written with.

A network in inference form is a chain of convolutions, a global average and a linear layer. Written down as
arrays and a few integers it needs neither torch nor a tracer to become another format's graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.export_options import output_names
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.task import Task
from mobileone.variants import BlockSpec, Pair

if TYPE_CHECKING:
    from torch import nn

    from mobileone.model.block import InferenceBlock
    from mobileone.model.features import FeatureExtractor, Network

Floats = NDArray[np.float32]
PIXEL_MAX = 255


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LinearLayer:
    """`y = x · weightᵀ + bias`.

    Attributes:
        name: dotted name in the model.
        weight: (out, in).
        bias: (out,).
    """

    name: str
    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AttentionLayer:
    """Channel attention: the input times `sigmoid(expand(relu(reduce(mean over height and width))))`."""

    reduce: LinearLayer
    expand: LinearLayer


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ConvLayer:
    """A convolution with bias, then attention where there is one, then ReLU.

    Attributes:
        name: dotted name in the model.
        weight: (out, in / groups, kernel height, kernel width).
        bias: (out,).
        stride: (height, width), as are the next two.
        padding: zeros on either side.
        dilation: spacing of the kernel's taps.
        groups: 1, or the number of channels.
        attention: squeeze-and-excitation between the convolution and the ReLU.
    """

    name: str
    weight: Floats
    bias: Floats
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    attention: AttentionLayer | None = None

    @property
    def is_depthwise(self) -> bool:
        """One filter a channel."""
        return self.groups == self.weight.shape[0] and self.groups > 1

    @property
    def output_name(self) -> str:
        """Of the tensor behind it, and behind its attention where it has one."""
        return self.name if self.attention is None else f"{self.name}.attn"

    @property
    def in_channels(self) -> int:
        """As many as one filter reads, times the groups."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def out_channels(self) -> int:
        """One for each filter."""
        return int(self.weight.shape[0])

    def output_size(self, size: Pair) -> Pair:
        """(height, width) of the output for an input of that size.

        Raises:
            ConfigError: if the input is smaller than the kernel.
        """
        height, width = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                size, self.padding, self.dilation, self.weight.shape[2:], self.stride, strict=True
            )
        )
        if min(height, width) < 1:
            raise ConfigError(f"{self.name}: an input of {size[0]}×{size[1]} is smaller than the kernel")
        return height, width


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FusedLayers:
    """A whole network in inference form.

    Attributes:
        convs: in order of execution; the first one reads the normalised image.
        classifier: reads the average of the last one over height and width; None gives that average.
        input_spec: the pre-processing the network expects.
        class_names: one name a class, or None.
        task: what the logits mean.
        features: where feature maps are the output, and no average: for each, the convolution behind which it
            is taken, and the output's name.
        licence: which of others' licences the weights keep; None where none is known.
    """

    convs: tuple[ConvLayer, ...]
    classifier: LinearLayer | None
    input_spec: InputSpec
    class_names: tuple[str, ...] | None = None
    task: Task = "singlelabel"
    features: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None

    @property
    def num_outputs(self) -> int:
        """Length of the output."""
        return self.convs[-1].out_channels if self.classifier is None else len(self.classifier.bias)

    @property
    def num_parameters(self) -> int:
        """Weights and biases."""
        return sum(part.weight.size + part.bias.size for part in self.parts())

    def parts(self) -> Iterator[ConvLayer | LinearLayer]:
        """Everything that has weights, in order of execution."""
        for conv in self.convs:
            yield conv
            if conv.attention is not None:
                yield conv.attention.reduce
                yield conv.attention.expand
        if self.classifier is not None:
            yield self.classifier


def layers_of(model: Network) -> FusedLayers:
    """The network as plain data.

    Args:
        model: in inference form, in eval mode, on any device; weights are read as float32.

    Raises:
        ConfigError: if it is in train form, has a part that its variant and head do not tell (another
            activation, a hook), or a weight that is not finite.

    >>> from mobileone.model.create import create_model
    >>> layers = layers_of(create_model("mobileone_s0", form="inference").eval())
    >>> len(layers.convs), layers.num_outputs, layers.num_parameters
    (43, 1000, 2078504)
    """
    from torch import nn

    from mobileone.model.block import InferenceBlock
    from mobileone.model.features import FeatureExtractor
    from mobileone.reparam.as_built import INSTEAD, require_as_built
    from mobileone.reparam.fuse import blocks_of

    if model.form != "inference":
        raise ConfigError("the network is in train form; fuse it first: mobileone.reparameterize(model)")
    require_as_built(model, doing="write down", error=ConfigError, instead=INSTEAD)
    blocks = blocks_of(model, InferenceBlock)
    convs = tuple(_conv(name, block) for name, block in blocks if isinstance(block, InferenceBlock))
    if isinstance(model, FeatureExtractor):
        features = _features(model, convs)
        layers = FusedLayers(
            convs=convs,
            classifier=None,
            input_spec=model.input_spec,
            features=features,
            licence=model.licence,
        )
    else:
        head = model.head.fc
        layers = FusedLayers(
            convs=convs,
            classifier=_linear("head.fc", head) if isinstance(head, nn.Linear) else None,
            input_spec=model.input_spec,
            class_names=model.class_names,
            task=model.task,
            licence=model.licence,
        )
    for part in layers.parts():
        if not (np.isfinite(part.weight).all() and np.isfinite(part.bias).all()):
            raise ConfigError(f"{part.name} has NaN or infinite weights; the model is no use")
    return layers


def read_pixels(layers: FusedLayers) -> tuple[FusedLayers, NDArray[np.uint8]]:
    """The same network with the normalisation inside its first convolution: it reads pixels / 255.

    Returns:
        The layers; and the pixel, uint8 (channels,), that stands for zero after normalisation. The image must
        be padded with it, to within the rounding of half a step: zero padding would be black.
    """
    mean = np.asarray(layers.input_spec.mean)
    first, *others = layers.convs
    weight = first.weight / np.asarray(layers.input_spec.std)[None, :, None, None]
    bias = first.bias - (weight * mean[None, :, None, None]).sum((1, 2, 3))
    first = replace(first, weight=weight.astype(np.float32), bias=bias.astype(np.float32))
    return replace(layers, convs=(first, *others)), np.rint(PIXEL_MAX * mean).astype(np.uint8)


def _features(model: FeatureExtractor, convs: Sequence[ConvLayer]) -> dict[str, str]:
    """The last convolution of each level that is given, and the output's name."""
    modules = model.feature_info.module_name()
    last = {
        module: conv.name for module in modules for conv in convs if f"{conv.name}.".startswith(f"{module}.")
    }
    return {last[module]: name for module, name in zip(modules, output_names(model), strict=True)}


def _conv(name: str, block: InferenceBlock) -> ConvLayer:
    from mobileone.model.block import SqueezeExcite as Attention

    spec: BlockSpec = block.spec
    conv = block.reparam_conv
    attention = None
    if isinstance(block.attn, Attention):
        parts = (_linear(f"{name}.attn.{part}", getattr(block.attn, part)) for part in ("fc1", "fc2"))
        attention = AttentionLayer(reduce=next(parts), expand=next(parts))
    return ConvLayer(
        name=name,
        weight=_array(conv.weight),
        bias=_array(conv.bias),
        stride=spec.strides,
        padding=spec.paddings,
        dilation=spec.dilations,
        groups=spec.groups,
        attention=attention,
    )


def _linear(name: str, layer: nn.Module) -> LinearLayer:
    """From a linear layer or a 1×1 convolution."""
    weight, bias = _array(layer.weight), _array(layer.bias)
    return LinearLayer(name=name, weight=weight.reshape(weight.shape[0], -1), bias=bias)


def _array(value: object) -> Floats:
    import torch

    assert isinstance(value, torch.Tensor)
    return np.ascontiguousarray(value.detach().cpu().to(torch.float32).numpy())
