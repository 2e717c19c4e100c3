"""A float network against its int8 artifact, each in its own runtime, on photos."""

from __future__ import annotations

import torch

from mobileone.data.photos import Photos
from mobileone.inference.classifier import Classifier, as_classifier, usable_logits
from mobileone.model.network import MobileOne
from mobileone.progress_bar import progress_bar
from mobileone.quantization.layer_errors import Int8Comparison, compare_logits

BATCH_SIZE = 50


def compare_int8(
    model: MobileOne | Classifier, int8: Classifier, photos: Photos, *, progress: bool = True
) -> Int8Comparison:
    """How often they agree, how large the error is, and with labels how often either is right.

    Args:
        model: in float, in inference form.
        int8: the same network quantised; it takes photos of the same size.
        photos: to compare on, read as they are needed.
        progress: whether to show a bar on stderr.

    Raises:
        BadImageError: if a photo cannot be read.
        InferenceError: if one of them gives NaN or infinite logits.
    """
    classifier = as_classifier(model)
    expected, got = [], []
    batches = photos.batches(classifier.input_spec, BATCH_SIZE)
    total = -(-len(photos) // BATCH_SIZE)
    for pixels in progress_bar(batches, title="comparing", unit="batch", hidden=not progress, total=total):
        expected.append(classifier.logits(pixels).cpu())
        got.append(int8.logits(pixels).cpu())
    for logits in (*expected, *got):
        usable_logits(logits.numpy(), classifier.num_classes)
    labels = None if photos.labels is None else torch.from_numpy(photos.labels)
    return compare_logits(torch.cat(expected), torch.cat(got), labels)
