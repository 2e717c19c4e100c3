"""What a teacher said of every training image, before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mobileone.errors import TrainingError


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """A teacher's logits of the training images, to be looked up by their indices.

    Attributes:
        logits: float32 (N, K) on the CPU, perhaps in a file; NaN for images that could not be read.
    """

    logits: Tensor

    def __call__(self, indices: Tensor, *, device: torch.device) -> Tensor:
        """Those of some images, float32 (len(indices), K) on `device`, which is not waited for.

        Args:
            indices: of images in the training set, int64, on the CPU.
            device: where they are wanted.

        Raises:
            TrainingError: if the teacher could not see one of them.
        """
        chosen = self.logits[indices]
        missing = indices[chosen.isnan().any(1)]
        if len(missing):
            raise TrainingError(
                f"training image {int(missing[0])} could not be read when the teacher looked at it, and can "
                "be now; begin the run anew, or keep it out by exclude"
            )
        if device.type == "cuda":
            chosen = chosen.pin_memory()
        return chosen.to(device, non_blocking=True)
