"""The input of an exported network follows its options."""

import pytest

from mobileone.backends.export_options import INPUT_NAME, ExportOptions, tensor_spec
from mobileone.model.create import create_model


@pytest.fixture
def model(tiny):
    model = create_model(tiny, in_chans=1, form="inference")
    model.set_input_size(48)
    return model


@pytest.mark.parametrize(
    ("raw_input", "uint8", "wanted"),
    [
        (False, True, ("float32", "normalized")),
        (True, True, ("uint8", "pixels")),
        (True, False, ("float32", "pixels")),
    ],
)
def test_what_the_input_holds(model, raw_input, uint8, wanted):
    options = ExportOptions(raw_input=raw_input, batch=None)
    spec = tensor_spec(model, options, layout="NHWC", uint8=uint8)
    assert (spec.dtype, spec.values) == wanted
    assert (spec.name, spec.layout, spec.batch) == (INPUT_NAME, "NHWC", None)
    assert spec.shape(2) == (2, 48, 48, 1)
