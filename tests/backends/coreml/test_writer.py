"""What Core ML cannot hold; the file itself is in tests/contract."""

import pytest

from mobileone.backends.coreml.writer import check, tensor
from mobileone.backends.export_options import ExportOptions
from mobileone.errors import ConfigError

pytest.importorskip("coremltools", reason="needs mobileone[coreml]")


@pytest.mark.parametrize("batch", [2, None])
def test_an_image_input_takes_one_image(batch):
    with pytest.raises(ConfigError, match="takes one image at a time; leave dynamic_batch"):
        check(ExportOptions(raw_input=True, batch=batch))
    check(ExportOptions(batch=batch, half=True))


def test_an_image_is_planes_of_floats_inside(network):
    spec = tensor(network, ExportOptions(raw_input=True))
    assert (spec.dtype, spec.shape(1), spec.values) == ("float32", (1, 3, 32, 32), "pixels")
