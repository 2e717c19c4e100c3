"""Made-up pictures that a page makes again, and what Python computes for them: the proof of a network."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mobileone.backends.artifact import Artifact, prepare
from mobileone.images.decode import DecodedImage, read_image
from mobileone.images.eval_transform import EvalTransform

# Height, width, seed: larger than the input, smaller, tall.
PHOTO = (48, 64, 4)
PICTURES = ((301, 403, 1), (150, 97, 2), (640, 200, 3))


def golden_picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Smooth colours with some noise, uint8 (height, width, 3), by whole numbers alone: static/golden.js.

    >>> golden_picture(2, 3, 1)[1, 2].tolist()
    [195, 155, 83]
    """
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    slope = x * (3 + 2 * c) + y * (7 - 2 * c) + (x * y >> 6) + 50 * seed * (c + 1)
    smooth = np.maximum(0, np.abs((slope & 511) - 256) - 1)
    index = 3 * (y * width + x) + c + 1000003 * seed
    noise = (index * 0x9E3779B1 & 0xFFFFFFFF) >> 27
    picture: NDArray[np.uint8] = (smooth ^ noise).astype(np.uint8)
    return picture


def golden_values(artifact: Artifact) -> list[dict[str, Any]]:
    """The entries of site.json for a network that takes bytes."""
    transform, found = EvalTransform.from_spec(artifact.input_spec), []
    for height, width, seed in PICTURES:
        pixels = transform(DecodedImage("golden", golden_picture(height, width, seed)))[None]
        logits = artifact.run(pixels)[0].astype("<f4")
        found.append(
            {
                "height": height,
                "width": width,
                "seed": seed,
                "pixels": hashlib.sha256(prepare(pixels, artifact.manifest).tobytes()).hexdigest(),
                "logits": base64.b64encode(logits.tobytes()).decode(),
            }
        )
    return found


def write_photo(folder: Path) -> dict[str, Any]:
    """A JPEG that a browser decodes in its own way, and its pixels as Python decodes them: for site.json."""
    path = folder / "photo.jpg"
    PIL.Image.fromarray(golden_picture(*PHOTO)).save(path, quality=90)
    pixels = read_image(path).decode()
    height, width = pixels.shape[:2]
    text = base64.b64encode(pixels.tobytes()).decode()
    return {"file": path.name, "height": height, "width": width, "pixels": text}
