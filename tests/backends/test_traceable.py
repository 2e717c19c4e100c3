"""The module that tracers see computes the network's function, from whatever enters."""

import pytest
import torch

from mobileone.backends.export_options import ExportOptions, tensor_spec
from mobileone.backends.traceable import TraceableNetwork, dynamic_shapes, example, fold_std
from mobileone.exporting.parity import TOLERANCES, seeded_pictures
from mobileone.exporting.pipeline import ready
from mobileone.inference.torch_classifier import TorchClassifier


def test_raw_input_is_exact_at_the_padded_border(network):
    fused = ready(network)
    pixels = seeded_pictures(fused.input_spec)
    expected = TorchClassifier(fused).logits(pixels)
    raw = TraceableNetwork(fused, layout="NHWC", raw_input=True, half=False)
    scale = expected.abs().max()
    assert (raw(pixels.permute(0, 2, 3, 1)) - expected).abs().max() / scale < 1e-5


def test_the_border_check_sees_a_mean_folded_into_the_bias(network):
    """The twin: what most converters do is right inside the picture and wrong where the stem pads."""
    fused = ready(network)
    pixels = seeded_pictures(fused.input_spec)
    expected = TorchClassifier(fused).logits(pixels)
    wrong = fold_std(fused)
    conv = wrong.stem.reparam_conv
    means = 255 * torch.tensor(fused.input_spec.mean)
    with torch.no_grad():
        conv.bias -= (conv.weight * means.view(1, -1, 1, 1)).sum((1, 2, 3))
        got = wrong(pixels.float())
    assert (got - expected).abs().max() / expected.abs().max() > 10 * TOLERANCES["fp32"]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_normalised_input_in_either_order(network, layout):
    x = torch.randn(2, 3, 32, 32)
    module = TraceableNetwork(network, layout=layout, raw_input=False, half=False)
    given = x if layout == "NCHW" else x.permute(0, 2, 3, 1)
    torch.testing.assert_close(module(given), network(x))


def test_half_precision_stores_halves_and_gives_floats(network):
    module = TraceableNetwork(network, raw_input=False, half=True)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float16}
    assert next(network.parameters()).dtype == torch.float32, "the network itself stays as it was"
    x = torch.randn(1, 3, 32, 32)
    got, wanted = module(x), network(x)
    assert got.dtype == torch.float32
    assert 0 < (got - wanted).abs().max() < TOLERANCES["fp16"] * wanted.abs().max()


def test_an_example_has_the_shape_that_is_traced(network):
    options = ExportOptions(raw_input=True, batch=None)
    spec = tensor_spec(network, options, layout="NHWC", uint8=True)
    assert (example(spec).shape, example(spec).dtype) == ((2, 32, 32, 3), torch.uint8)
    (batch,) = dynamic_shapes(options, maximum=8)["images"].values()
    assert (batch.min, batch.max) == (1, 8)
    assert dynamic_shapes(ExportOptions()) is None
