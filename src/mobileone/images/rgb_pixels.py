"""Any mode of Pillow's as 8-bit RGB: the one conversion behind files, bytes, arrays and Pillow's own images.

Transparency is laid on white, 16-bit and 32-bit grey is scaled, colour profiles are not applied
(docs/data.md has the reasons).
"""

from __future__ import annotations

import math

import numpy as np
import PIL.Image
from numpy.typing import NDArray


def rgb_pixels(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """Pixels as RGB, uint8 (H, W, 3), of the frame at which a picture stands, as it is stored.

    Raises:
        Exception: any, as its decoder raises it.

    >>> rgb_pixels(PIL.Image.new("L", (2, 1), 7)).tolist()
    [[[7, 7, 7], [7, 7, 7]]]
    """
    if 0 in image.size:
        raise ValueError("a picture without pixels")
    if image.mode.startswith("I") or image.mode == "F":
        grey = _grey_to_uint8(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = PIL.Image.new("RGBA", over.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, over)
    return np.array(image.convert("RGB"))


def _grey_to_uint8(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit and 32-bit grey, (H, W), to 0..255.

    Integers that all lie in 0..65535 are 16-bit: white is 65535. Floats that all lie in 0..1 have white at 1.
    Anything else has no stated white: its own range is stretched.
    """
    grey = values.astype(np.float64)
    low, high = float(grey.min()), float(grey.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("pixels that are not finite numbers")
    white = 65535.0 if np.issubdtype(values.dtype, np.integer) else 1.0
    if low >= 0 and high <= white:
        low, high = 0.0, white
    return np.rint((grey - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)
