"""Cores go where the time goes."""

import time

import numpy as np
import pytest
import torch

from mobileone.errors import BadImageError
from mobileone.inference.core_share import CoreShare, measure_core_share
from mobileone.inference.predictor import Predictor
from mobileone.input_spec import InputSpec


class Slow:
    """A classifier that takes its time."""

    input_spec, num_classes, class_names = InputSpec(size=8, crop=1.0), 2, None
    device = torch.device("cpu")

    def logits(self, pixels):
        time.sleep(0.05)
        return torch.zeros(len(pixels), 2)


@pytest.mark.parametrize(
    ("decode", "network", "cores", "workers"),
    [(1, 3, 4, 1), (3, 1, 4, 3), (1, 100, 8, 1), (100, 1, 8, 8), (1, 1, 1, 1), (0, 0, 2, 1)],
)
def test_decoding_gets_its_part_of_the_cores(decode, network, cores, workers):
    share = CoreShare(decode_ms=decode, network_ms=network, cores=cores)
    assert share.workers == workers
    assert str(share).startswith(f"{workers} of {cores} cores decode")


def test_both_are_measured():
    photo = np.zeros((20, 20, 3), np.uint8)
    share = measure_core_share(Predictor(Slow()), photo, cores=8)
    assert share.network_ms >= 50 > share.decode_ms > 0
    assert (share.workers, share.cores) == (1, 8)
    with pytest.raises(BadImageError):
        measure_core_share(Predictor(Slow()), b"no picture")
