"""The built-in data set: handwritten digits, so that everything runs on a machine with no data at all.

1797 scans of 8×8 pixels from "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, UCI
Machine Learning Repository, CC BY 4.0), which come inside scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobileone.errors import MissingExtraError
from mobileone.images.decode import DecodedImage

SPLIT_SEED = 0
WHITE = 16  # the scans count ink in 4×4 cells of a bitmap


@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """Labelled digit scans; an `ImageSource`.

    Attributes:
        split: "train" or "val".
        images: uint8 (N, 8, 8, 3), three equal channels, ink is white.
        labels: the digits, int64 (N,).
        classes: "0" … "9".
    """

    split: Literal["train", "val"]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = tuple("0123456789")

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """`digits/val/17`."""
        return f"digits/{self.split}/{index}"

    def read(self, index: int) -> DecodedImage:
        """A scan, decoded."""
        return DecodedImage(self.name(index), self.images[index])


def load_digits(split: Literal["train", "val"]) -> Digits:
    """The digits of one split, always the same: 1437 for training, 360 for validation, stratified.

    Raises:
        MissingExtraError: if scikit-learn is not installed.

    >>> len(load_digits("train")), len(load_digits("val"))
    (1437, 360)
    """
    try:
        from sklearn.datasets import load_digits as load_scans
    except ImportError:
        raise MissingExtraError(
            "the built-in digits come with scikit-learn, which is not installed; "
            "pip install 'mobileone[train]', or give a data folder"
        ) from None
    scans, digits = load_scans(return_X_y=True)
    # RandomState's stream never changes. Sorted by digit and otherwise shuffled, every fifth scan is a
    # stratified sample.
    order = np.random.RandomState(SPLIT_SEED).permutation(len(digits))
    order = order[np.argsort(digits[order], kind="stable")]
    is_val = np.zeros(len(digits), dtype=bool)
    is_val[order[::5]] = True
    chosen = is_val if split == "val" else ~is_val
    grey = np.rint(scans[chosen] * (255 / WHITE)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return Digits(split, grey.repeat(3, axis=3), digits[chosen].astype(np.int64))
