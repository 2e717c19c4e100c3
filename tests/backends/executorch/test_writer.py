"""Float .pte files; that they compute the right thing is in tests/contract."""

import pytest
import torch

from mobileone.backends.executorch.writer import check, program, tensor
from mobileone.backends.export_options import ExportOptions
from mobileone.backends.quiet import quiet
from mobileone.errors import ConfigError

pytest.importorskip("executorch", reason="needs mobileone[executorch]")


def test_half_precision_is_refused_in_words_of_arguments():
    with pytest.raises(ConfigError, match="needs a phone's processor to check it; leave half out"):
        check(ExportOptions(half=True))


def test_raw_pixels_come_as_a_camera_orders_them(network):
    assert tensor(network, ExportOptions(raw_input=True)).shape(1) == (1, 32, 32, 3)
    assert tensor(network, ExportOptions()).shape(1) == (1, 3, 32, 32)


def test_a_program_is_a_file_of_executorchs():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    with quiet(), torch.no_grad():
        content = program(module, torch.zeros(1, 3, 8, 8))
    assert content[4:6] == b"ET"  # behind the root's offset, as in every flatbuffer
