"""The training loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float) -> Tensor:
    """Cross-entropy against (1 − s)·one-hot + s/K, the mean over the batch, in float32 or wider.

    Label smoothing as in arXiv 1512.00567, section 7, which is torch's own definition.

    Args:
        logits: (N, K), any floating dtype.
        labels: (N,), int64 in [0, K).
        smoothing: s in [0, 1); 0 is plain cross-entropy.

    Returns:
        A scalar.

    >>> import torch
    >>> smoothed_cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]), smoothing=0.1).exp()
    tensor(4.)
    """
    wide = logits if logits.element_size() >= 4 else logits.float()
    return F.cross_entropy(wide, labels, label_smoothing=smoothing)
