"""Class activation maps (arXiv 1512.04150): where in an image the evidence for a class lies.

MobileOne ends in a global average pool and a linear layer, so a logit is the mean over all places of the same
linear layer applied at each place. That map is the logit's exact decomposition, no approximation of it: its
mean, plus the class's bias, is the logit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobileone.errors import ConfigError
from mobileone.model.network import MobileOne


@torch.no_grad()
def class_activation_maps(model: MobileOne, images: Tensor) -> tuple[Tensor, Tensor]:
    """The maps of every class, and the logits.

    Args:
        model: in eval mode, either form.
        images: normalised as its input spec says, (N, C, H, W).

    Returns:
        Maps (N, num_classes, h, w), a place for every 32 pixels, and logits (N, num_classes):
        `maps.mean((2, 3)) + bias`.

    Raises:
        ConfigError: if the model is in training mode, or has no linear classifier.

    >>> from mobileone.model.create import create_model
    >>> model = create_model("mobileone_s0", num_classes=3, form="inference").eval()
    >>> maps, logits = class_activation_maps(model, torch.randn(1, 3, 64, 64))
    >>> tuple(maps.shape), torch.allclose(maps.mean((2, 3)) + model.head.fc.bias, logits, atol=1e-4)
    ((1, 3, 2, 2), True)
    """
    if model.training:
        raise ConfigError("maps of a model in training mode mean nothing; call model.eval() first")
    classifier = model.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise ConfigError("the model has no linear classifier (num_classes=0): there is nothing to explain")
    features = model.forward_features(images)
    maps = torch.einsum("nchw,kc->nkhw", features, classifier.weight)
    return maps, model.forward_head(features)


def logit_map(maps: Tensor, index: int, size: tuple[int, int]) -> Tensor:
    """One class's map at the size of the image, and what stands out of it: 0 where it is least, 1 where most.

    Args:
        maps: of one image, (num_classes, h, w).
        index: the class.
        size: (height, width) of the image, pixels.

    Returns:
        float32 of that size, bilinear between the centres of the places.
    """
    chosen = maps[index].float()[None, None]
    large = F.interpolate(chosen, size, mode="bilinear", align_corners=False)[0, 0]
    low, high = large.min(), large.max()
    return (large - low) / (high - low).clamp(min=1e-12)
