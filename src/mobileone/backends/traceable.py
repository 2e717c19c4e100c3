"""The network as a module for PyTorch's tracers: its graph takes an artifact's input and gives its output."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobileone.backends.export_options import INPUT_NAME, ExportOptions
from mobileone.backends.manifest import Layout, TensorSpec
from mobileone.model.block import InferenceBlock
from mobileone.model.features import FeatureExtractor, Network

N = TypeVar("N", bound=Network)


def fold_std(model: N) -> N:
    """A copy whose stem takes pixel − 255 · mean instead of (pixel / 255 − mean) / std.

    Only the scale moves into the stem's kernel. The mean stays a subtraction, because the convolution pads
    with zeros: zero after normalisation is the mean's own colour, and no bias can stand in for it at the
    border.

    >>> from mobileone.model.create import create_model
    >>> model = create_model("mobileone_s0", form="inference")
    >>> fold_std(model).stem.reparam_conv.weight.shape
    torch.Size([48, 3, 3, 3])
    """
    folded = copy.deepcopy(model)
    stem = folded.stem
    assert isinstance(stem, InferenceBlock)
    weight = stem.reparam_conv.weight
    scale = 255 * torch.tensor(model.input_spec.std, dtype=torch.float64)
    with torch.no_grad():
        weight.copy_((weight.double() / scale.view(1, -1, 1, 1)).to(weight.dtype))
    return folded


def pixel_means(model: Network) -> Tensor:
    """255 · mean, float32 (channels,)."""
    return (255 * torch.tensor(model.input_spec.mean, dtype=torch.float64)).float()


class TraceableNetwork(nn.Module):
    """A network from its input, as the artifact gets it, to float32 logits or feature maps.

    Args:
        model: in inference form, eval mode, on the CPU, float32.
        layout: order of the input's axes.
        raw_input: take pixels instead of normalised values.
        half: compute in float16 between input and output.
    """

    def __init__(self, model: Network, *, layout: Layout = "NCHW", raw_input: bool, half: bool) -> None:
        super().__init__()
        self.dtype = torch.float16 if half else torch.float32
        self.nhwc = layout == "NHWC"
        network = fold_std(model) if raw_input else copy.deepcopy(model)
        means = pixel_means(model).view(1, -1, 1, 1) if raw_input else None
        self.register_buffer("means", means, persistent=raw_input)
        self.network = network.to(self.dtype)
        self.eval()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Images as `raw_input` and `layout` say to logits (N, num_classes), or to maps (N, C, H, W)."""
        # Only casts that change something: to some exporters a cast from float to float is a copy. And floats
        # before the axes move: ExecuTorch then hands all but the cast to XNNPACK.
        x = images if images.dtype == torch.float32 else images.float()
        x = x.permute(0, 3, 1, 2) if self.nhwc else x
        if isinstance(self.means, Tensor):
            x = x - self.means
        half = self.dtype == torch.float16
        x = x.half() if half else x
        if isinstance(self.network, FeatureExtractor):
            return tuple(level.float() if half else level for level in self.network(x))
        features = self.network.forward_features(x)
        # The average as a pool: ExecuTorch hands that to XNNPACK in its layout, a mean costs it 4 %.
        logits: Tensor = self.network.head.fc(F.adaptive_avg_pool2d(features, 1).flatten(1))
        return logits.float() if half else logits


def example(tensor: TensorSpec) -> Tensor:
    """An input of that kind, for tracing: as many images as the graph takes, two where any number."""
    dtype = torch.uint8 if tensor.dtype == "uint8" else torch.float32
    return torch.zeros(tensor.shape(tensor.batch or 2), dtype=dtype)


def dynamic_shapes(options: ExportOptions, *, maximum: int | None = None) -> dict[str, dict[int, Any]] | None:
    """What torch.export must be told for a batch of any size, up to a maximum."""
    if options.batch is not None:
        return None
    return {INPUT_NAME: {0: torch.export.Dim("batch", min=1, max=maximum)}}
