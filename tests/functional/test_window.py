import pytest
import torch
from torch.nn import functional as F

from mobileone.functional.window import Window, subsample
from mobileone.variants import BlockSpec

WINDOWS = [Window(), Window((3, 5), (2, 1), (1, 0), (1, 2)), Window((2, 2), (3, 3), (2, 1))]


@pytest.mark.parametrize("window", WINDOWS)
def test_sizes_are_those_of_torchs_convolution(window):
    x = torch.zeros(2, 1, 11, 12)
    kernel, *rest = window
    out = F.conv2d(x, torch.zeros(1, 1, *kernel), None, *rest)
    assert window.output_size(11, 12) == tuple(out.shape[2:])
    assert (window.count(x.shape), window.num_taps) == (out.numel(), kernel[0] * kernel[1])


@pytest.mark.parametrize("window", WINDOWS)
def test_flat_and_back(window):
    assert len(window.flat()) == 8
    assert Window.of_flat(window.flat()) == window


def test_of_a_spec():
    spec = BlockSpec(4, 4, (3, 5), (2, 1), (1, 2), use_scale=False, use_identity=False)
    assert Window.of(spec) == Window((3, 5), (2, 1), (1, 2))


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
def test_subsample_then_pointwise_is_the_strided_pointwise(size, stride):
    x, w = torch.randn(2, 3, size, size), torch.randn(4, 3, 1, 1)
    assert torch.allclose(F.conv2d(subsample(x, stride), w), F.conv2d(x, w, stride=stride), atol=1e-6)
