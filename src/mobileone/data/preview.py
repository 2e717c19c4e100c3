"""Batches as training sees them, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.PngImagePlugin
import torch

from mobileone.atomic import atomic_path
from mobileone.data.augment import TrainTransform
from mobileone.data.loader import train_loader
from mobileone.data.source import ImageSource
from mobileone.errors import ConfigError
from mobileone.input_spec import sides
from mobileone.report.figure import SOFTWARE

COLUMNS, ROWS = 8, 4
GAP, CAPTION = 4, 14  # pixels


def draw_batches(
    source: ImageSource, transforms: list[tuple[str, TrainTransform]], path: str | Path, *, seed: int = 0
) -> None:
    """Draw a batch of 32 training images after augmentation for each transform, with class names, as PNG.

    Args:
        source: training images.
        transforms: captions and transforms, those of a recipe's phases for example.
        path: of the picture, ending in .png.
        seed: of order and augmentation: these are the first images of a run with that seed.

    Raises:
        ConfigError: if `path` does not end in .png.
        BadImageError: if all of 17 images one after the other cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ConfigError(f"the picture must end in .png, got {path}")
    heights, widths = zip(*(sides(transform.size) for _, transform in transforms), strict=True)
    step = (max(widths) + GAP, max(heights) + GAP + CAPTION)
    block = CAPTION + ROWS * step[1]
    sheet = PIL.Image.new("RGB", (COLUMNS * step[0] + GAP, len(transforms) * block), "white")
    pen = PIL.ImageDraw.Draw(sheet)
    for number, (caption, transform) in enumerate(transforms):
        top = number * block
        pen.text((GAP, top), caption, fill="black")
        batches = train_loader(source, transform, batch_size=COLUMNS * ROWS, seed=seed, on_bad_image="skip")
        batch = next(iter(batches))
        for place, (image, index) in enumerate(zip(batch.images, batch.indices.tolist(), strict=True)):
            x, y = GAP + place % COLUMNS * step[0], top + CAPTION + place // COLUMNS * step[1]
            pixels = image.permute(1, 2, 0).contiguous()  # (C, H, W) → (H, W, C)
            sheet.paste(PIL.Image.fromarray(pixels.to(torch.uint8).numpy()), (x, y))
            own = np.atleast_1d(source.labels[index])
            named = [source.classes[k] for k in (np.flatnonzero(own) if own.dtype == bool else own)]
            caption = _fitting(pen, ", ".join(named), max(widths))
            pen.text((x, y + sides(transform.size)[0]), caption, fill="black")
    made_by = PIL.PngImagePlugin.PngInfo()
    for key, value in SOFTWARE.items():
        made_by.add_text(key, value)
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG", pnginfo=made_by)


def _fitting(pen: PIL.ImageDraw.ImageDraw, text: str, width: int) -> str:
    """As much of a text as fits, in characters that the built-in font has."""
    text = text.encode("latin-1", "replace").decode("latin-1")
    while text and pen.textlength(text) > width:
        text = text[:-1]
    return text
