"""Proof that an artifact computes what PyTorch computes, pre-processing included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mobileone.backends.artifact import Artifact
from mobileone.backends.manifest import Parity
from mobileone.backends.table import Precision
from mobileone.errors import ExportError
from mobileone.evaluation.metrics import top1_agreement
from mobileone.input_spec import InputSpec

# Greatest max |a − b| / max |logit| that rounding explains, by the precision of the weights.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1}
# How many times the difference the logits must vary between pictures, for the pictures to tell anything.
CONTRAST = 10
NUM_SEEDED = 8
SEEDED = "seeded pictures"


def seeded_pictures(spec: InputSpec, *, number: int = NUM_SEEDED, seed: int = 0) -> Tensor:
    """Pictures for a comparison where no photos are given: uint8 (number, in_chans, height, width).

    One is black and one is white, so that a wrong border or a wrong mean shows; the others are soft colour
    fields with noise, so that features of all scales fire.

    >>> seeded_pictures(InputSpec(size=32)).shape
    torch.Size([8, 3, 32, 32])
    """
    generator = torch.Generator().manual_seed(seed)
    fields = torch.rand(number, spec.in_chans, 6, 6, generator=generator)
    soft = F.interpolate(fields, size=(spec.height, spec.width), mode="bicubic", align_corners=False)
    noise = torch.randn(number, spec.in_chans, spec.height, spec.width, generator=generator)
    pictures = (255 * soft + 20 * noise).clamp(0, 255).round().to(torch.uint8)
    pictures[0], pictures[-1] = 0, 255
    return pictures


def compare(
    artifact: Artifact,
    expected: Tensor | Sequence[Tensor],
    pixels: Tensor,
    *,
    images: str,
    tolerance: float | None,
) -> Parity:
    """Run an artifact on pixels and hold its logits, or every feature map, against the expected ones.

    Args:
        artifact: to check.
        expected: PyTorch's in float32: logits (N, num_classes), or feature maps, (N, C, H, W) a level.
        pixels: that gave them, uint8 (N, C, size, size).
        images: what these are, for the report.
        tolerance: greatest max_rel that passes; None passes everything but NaN.

    Raises:
        ExportError: if they differ by more or are not finite; or if the expected ones hardly depend on the
            picture, as those of an untrained network may not: any constant would then pass.
    """
    if isinstance(expected, Tensor):
        logits = artifact.logits(pixels)
        pairs, agreement = {"logits": (logits, expected)}, top1_agreement(logits, expected)
    else:
        maps = map(torch.from_numpy, artifact.features(pixels.permute(0, 2, 3, 1).numpy()))
        names = [output.name for output in artifact.manifest.features]
        pairs, agreement = dict(zip(names, zip(maps, expected, strict=True), strict=True)), None
    max_abs = {name: (got - wanted).abs().max().item() for name, (got, wanted) in pairs.items()}
    max_rel = [max_abs[name] / (wanted.abs().max().item() or 1) for name, (_, wanted) in pairs.items()]
    parity = Parity(
        runtime=artifact.session.runtime,
        precision=artifact.session.precision,
        images=images,
        num_images=len(pixels),
        max_abs=max(max_abs.values()),
        max_rel=max(max_rel),
        top1_agreement=agreement,
        tolerance=tolerance,
    )
    finite = all(got.isfinite().all() for got, _ in pairs.values())
    if not finite or (tolerance is not None and not parity.max_rel <= tolerance):
        raise ExportError(f"the exported network does not compute what PyTorch computes: {parity}")
    for name, (_, wanted) in pairs.items():
        contrast = (wanted - wanted.mean(0)).abs().max().item()
        if tolerance is not None and not contrast > CONTRAST * max_abs[name]:
            raise ExportError(
                f"a comparison proves nothing: the network's {name} vary by {contrast:.1e} between pictures "
                f"and rounding alone is {max_abs[name]:.1e}; train the network first"
            )
    return parity
