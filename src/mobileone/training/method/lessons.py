"""What a teacher said of every training image, before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mobileone.errors import TrainingError
from mobileone.training.method.taught import Taught


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What a teacher said of the training images, to be looked up by their indices.

    Attributes:
        taught: float32 on the CPU, perhaps in a file; logits are NaN for images that could not be read.
    """

    taught: Taught

    def __call__(self, indices: Tensor, *, device: torch.device) -> Taught:
        """What it said of some images, float32 on `device`, which is not waited for.

        Args:
            indices: of images in the training set, int64, on the CPU.
            device: where they are wanted.

        Raises:
            TrainingError: if the teacher could not see one of them.
        """
        chosen = self.taught.of(indices)
        missing = indices[chosen.logits.isnan().any(1)]
        if len(missing):
            raise TrainingError(
                f"training image {int(missing[0])} could not be read when the teacher looked at it, and can "
                "be now; begin the run anew, or keep it out by exclude"
            )
        return chosen.to(device)
