"""Programs of torch.export hold their weights and take a batch as it was asked for."""

import pytest
import torch

from mobileone.backends.export_options import ExportOptions
from mobileone.backends.torch.writer import tensor, write


@pytest.fixture
def program(network, tmp_path):
    def make(**options):
        (path,) = write(network, tmp_path / "net.pt2", ExportOptions(**options))
        return torch.export.load(path)

    return make


def test_any_number_of_images(program, network):
    module = program(batch=None).module()
    for number in (1, 5):
        images = torch.randn(number, 3, 32, 32)
        torch.testing.assert_close(module(images), network(images), rtol=1e-4, atol=1e-5)


def test_half_stores_halves(program):
    dtypes = {value.dtype for value in program(half=True).state_dict.values()}
    assert dtypes == {torch.float16}


def test_raw_pixels_come_as_a_camera_orders_them(network):
    spec = tensor(network, ExportOptions(raw_input=True))
    assert (spec.dtype, spec.shape(1)) == ("uint8", (1, 32, 32, 3))
