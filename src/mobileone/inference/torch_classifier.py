"""Networks of ours as classifiers: pixels to logits in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mobileone.data.pixels import normalize
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.alterations import has_hooks, own_method
from mobileone.model.network import MobileOne
from mobileone.precision import AmpDtype, autocast, float32_products
from mobileone.ranks.device import check_device
from mobileone.reparam.fuse import refuse_training
from mobileone.reparam.verify import reparameterize_verified


def torch_logits(
    module: Callable[[Tensor], Tensor],
    pixels: Tensor,
    input_spec: InputSpec,
    *,
    dtype: torch.dtype = torch.float32,
    amp: AmpDtype | None = None,
) -> Tensor:
    """Logits of pixels, float32 (N, K), from any module that takes normalised images.

    Args:
        module: in whatever mode it is; gradients are as the caller has set them.
        pixels: (N, C, H, W), uint8 or float in 0..255, on the module's device. Their memory format is kept,
            so channels-last pixels are computed channels last.
        input_spec: gives mean and std.
        dtype: of the images that the module takes.
        amp: mixed precision, or None.
    """
    with autocast(pixels.device, amp):
        logits: Tensor = module(normalize(pixels, input_spec, dtype=dtype))
    return logits.float()


class TorchClassifier:
    """A network in PyTorch as a `Classifier`.

    Args:
        model: in eval mode, or in inference form.
        device: where to compute: the network is moved there. None is where it is.
        amp: mixed precision, or None.
        fuse: bring a network with branches into inference form, as a copy that is proved to compute the same.

    Raises:
        ReparameterizeError: with `fuse`, if the network is in training mode, or has what fusing would lose.
        ConfigError: if there is no such device.

    Attributes:
        model: the network; where it is not fused here, not a copy.
        decision: of the network, how its logits become an answer; None where it has none.
    """

    def __init__(
        self,
        model: MobileOne,
        *,
        device: str | torch.device | None = None,
        amp: AmpDtype | None = None,
        fuse: bool = False,
    ) -> None:
        if fuse:
            refuse_training(model, doing="predict with")
        network = reparameterize_verified(model) if fuse and model.form == "train" else model
        self.model = network if device is None else network.to(check_device(device))
        if self.device.type == "cuda":  # the layout that its convolutions in half precision want
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.amp = amp
        self.input_spec = model.input_spec
        self.num_classes = model.num_classes
        self.class_names = model.class_names
        self.task = model.task
        self.decision = model.decision

    def __str__(self) -> str:
        return "fused" if self.model.form == "inference" else "in train form"

    @property
    def device(self) -> torch.device:
        """Where the network is, and its logits come out."""
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (N, num_classes), of images cut to size: uint8 (N, C, H, W), on any device."""
        return self._computed(self.model, pixels)

    def _computed(self, compute: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        weight = next(self.model.parameters())
        pixels = pixels.to(weight.device, non_blocking=True)
        if weight.device.type == "cuda":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        with float32_products(tf32=False):  # float32 is float32, on a GPU too
            return torch_logits(compute, pixels, self.input_spec, dtype=weight.dtype, amp=self.amp)

    @torch.inference_mode()
    def embeddings(self, pixels: Tensor) -> Tensor:
        """Pooled features, float32 (N, num_features), of the same: what the head's linear layer reads.

        Raises:
            ConfigError: if the network was changed so that they are not on the logits' way.
        """
        network = self.model
        for module in (network, network.head):
            reason = own_method(module) or (has_hooks(module) and "hook")
            if reason:
                raise ConfigError(
                    f"the {type(module).__name__} has a {reason} of its own; embed needs it plain"
                )
        pooled = lambda x: network.forward_head(network.forward_features(x), pre_logits=True)  # noqa: E731
        return self._computed(pooled, pixels)
