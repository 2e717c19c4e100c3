"""The error of an int8 network, and the layers that it comes from."""

from dataclasses import replace

import pytest
import torch

from mobileone.backends.quantized_network import Int8Encoding
from mobileone.quantization import layer_errors
from mobileone.quantization.layer_errors import (
    LayerError,
    compare_logits,
    noisy_layer,
    to_integers,
    trace_errors,
)


def test_errors_are_traced_to_layers(quantized, small_pictures):
    layers = trace_errors(quantized, small_pictures)
    assert [layer.name for layer in layers] == [conv.name for conv in quantized.layers.convs]
    assert sum(layer.logit_share for layer in layers) == pytest.approx(1)
    assert min(layer.sqnr_db for layer in layers) > 15


def test_more_bits_would_cost_less(quantized, other_pictures):
    """The report's dB follow the integers: an activation with a scale forty times too coarse shows."""
    name = quantized.layers.convs[2].name
    coarse = Int8Encoding((40 * quantized.activations[name].step,), -128)
    worse = replace(quantized, activations={**quantized.activations, name: coarse})
    first, second = (trace_errors(each, other_pictures) for each in (quantized, worse))
    assert second[2].sqnr_db < first[2].sqnr_db - 10


def test_what_the_next_bias_makes_up_for_is_not_counted(quantized, small_pictures, monkeypatch):
    """A constant on a layer's outputs leaves the report as it is; as much noise of both signs does not."""
    plain = trace_errors(quantized, small_pictures)
    one, original = quantized.layers.convs[2].name, layer_errors.integer_layer

    def shifted(signs):
        def layer(quantized, conv, x, source):
            integers, encoding = original(quantized, conv, x, source)
            return integers + 5 * signs(integers.shape) if conv.name == one else integers, encoding

        return layer

    shares = []
    for signs in (torch.ones, lambda shape: torch.randn(shape).sign()):
        monkeypatch.setattr(layer_errors, "integer_layer", shifted(signs))
        shares.append(trace_errors(quantized, small_pictures)[2].logit_share)
    assert shares[0] == pytest.approx(plain[2].logit_share, rel=1e-3)
    assert shares[1] > 2 * plain[2].logit_share


def test_the_noisiest_layer_is_named_with_what_to_do():
    layers = [
        LayerError(name=name, kind="dense", sqnr_db=db, logit_share=0.5)
        for name, db in (("stem", 9.9), ("stages.2.18", 6.49), ("stages.3.1", 10.0))
    ]
    told = noisy_layer(layers, 20, enough=100)
    assert told.startswith("calibrated on 20 photos, layer stages.2.18 keeps 6.5 dB of signal over noise")
    assert "less than 10: take more of what the network will see, 100 as a rule" in told
    assert noisy_layer(layers, 100, enough=100) is None
    assert noisy_layer(layers[2:], 20, enough=100) is None


def test_both_networks_are_counted_against_the_labels():
    expected = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0], [5.0, 1.0, 0.0]])
    got = expected.clone()
    got[3] = torch.tensor([1.0, 5.0, 0.0])
    result = compare_logits(expected, got, torch.tensor([0, 1, 0, 0]))
    assert (result.num_images, result.agreement) == (4, 75.0)
    assert (result.float_acc1, result.int8_acc1) == (75.0, 50.0)
    assert result.float_acc5 == 100.0, "of three classes"
    assert compare_logits(expected, got).float_acc1 is None


def test_what_all_classes_share_is_no_error():
    expected = torch.randn(4, 10)
    assert compare_logits(expected, expected + 7).sqnr_db > 100


def test_reals_outside_of_eight_bits_are_cut():
    x = torch.tensor([-1.0, 0.0, 0.26, 200.0])
    assert to_integers(x, Int8Encoding((0.5,), -128)).tolist() == [0, 0, 1, 255]


def test_kinds_of_layers(quantized, other_pictures):
    kinds = {layer.name: layer.kind for layer in trace_errors(quantized, other_pictures)}
    assert kinds["stem"] == "dense"
    assert set(kinds.values()) == {"dense", "depthwise", "pointwise"}
