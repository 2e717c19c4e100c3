"""How a network is exported, and the input that its file then has. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobileone.backends.manifest import Layout, TensorSpec

if TYPE_CHECKING:
    from mobileone.model.features import Network

INPUT_NAME, OUTPUT_NAME = "images", "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How to export.

    Attributes:
        raw_input: take pixels (0 to 255), normalise inside.
        batch: images at a time; None for any number.
        half: store weights as float16.
    """

    raw_input: bool = False
    batch: int | None = 1
    half: bool = False


def tensor_spec(model: Network, options: ExportOptions, *, layout: Layout, uint8: bool) -> TensorSpec:
    """The input of a network's artifact, for a format with this layout.

    Args:
        model: gives channels and size.
        options: of the export.
        layout: of the graph's input.
        uint8: whether raw pixels enter as bytes; else as floats.
    """
    return TensorSpec(
        name=INPUT_NAME,
        dtype="uint8" if options.raw_input and uint8 else "float32",
        layout=layout,
        values="pixels" if options.raw_input else "normalized",
        batch=options.batch,
        channels=model.in_chans,
        height=model.input_spec.height,
        width=model.input_spec.width,
    )


def output_names(model: Network) -> list[str]:
    """The outputs of a network's artifact: logits, or a feature map for each level."""
    levels = getattr(model, "out_indices", None)
    return [OUTPUT_NAME] if levels is None else [f"features_{level}" for level in levels]
