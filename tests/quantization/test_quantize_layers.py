"""Layer after layer to integers."""

from dataclasses import replace

import pytest
import torch

from mobileone.backends.fused_layers import ConvLayer, layers_of
from mobileone.backends.quantized_network import Int8Encoding
from mobileone.exporting.parity import seeded_pictures
from mobileone.inference.classifier import logits_in_batches
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.model.create import create_model
from mobileone.quantization.layer_errors import compare_logits
from mobileone.quantization.quantize_layers import RIDGE, fit, quantize_conv, quantize_layers, windows
from mobileone.quantization.simulate import float_conv, integer_conv, simulate

SOURCE = Int8Encoding((1 / 255,), -128)


def make_conv(*, groups=1, kernel=1):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(12, 12 // groups, kernel, kernel, generator=generator)
    bias = torch.randn(12, generator=generator)
    return ConvLayer(
        name="conv", weight=weight.numpy(), bias=bias.numpy(), padding=(kernel // 2,) * 2, groups=groups
    )


@pytest.mark.parametrize(("groups", "kernel"), [(1, 1), (12, 3), (1, 3)])
def test_windows_are_what_a_convolution_reads(groups, kernel):
    conv = make_conv(groups=groups, kernel=kernel)
    x = torch.rand(3, 12, 5, 5)
    flat = torch.from_numpy(conv.weight).flatten(1).view(groups, 12 // groups, -1)
    sums = (flat @ windows(conv, x)).view(12, 3, 5, 5).transpose(0, 1)
    torch.testing.assert_close(sums + torch.from_numpy(conv.bias)[:, None, None], float_conv(conv, x))


@pytest.mark.parametrize(("groups", "kernel", "stride"), [(1, 1, 1), (12, 3, 2), (1, 3, 1)])
def test_some_windows_are_rows_of_all(groups, kernel, stride):
    conv = replace(make_conv(groups=groups, kernel=kernel), stride=(stride, stride))
    x = torch.rand(3, 12, 10, 6)
    height, width = conv.output_size((10, 6))
    everything = windows(conv, x).view(groups, -1, 3, height, width)
    some = windows(conv, x, num=2 * 3 * width).view(groups, -1, 3, 2, width)
    rows = [height // 4, height * 3 // 4]
    assert torch.equal(some, everything[:, :, :, rows])


def test_fitting_makes_up_for_a_distortion_of_the_inputs():
    """Half way, as far as the ridge allows: towards 2 for inputs that are half of what they should be."""
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(1, 8, 4000, generator=generator)
    weight = torch.randn(1, 4, 8, generator=generator)
    fitted, moments = fit(weight, wanted, 0.5 * wanted)
    expected = (0.5 + 0.25 * RIDGE) / (0.25 + 0.25 * RIDGE)
    torch.testing.assert_close(fitted.float(), expected * weight, rtol=0.05, atol=0.05)
    assert (torch.linalg.eigvalsh(moments) > 0).all()


@pytest.mark.parametrize("groups", [1, 12])
def test_the_mean_of_every_channel_is_the_floats(groups):
    conv = make_conv(groups=groups, kernel=3)
    wanted = torch.rand(8, 12, 9, 9)
    read = (wanted * 255).round() / 255 * 0.97 + 0.01  # a network before that is off
    mean = float_conv(conv, wanted).mean((0, 2, 3))
    weight = quantize_conv(conv, wanted, read, SOURCE, mean)
    output = Int8Encoding((0.2,), 0)
    integers = integer_conv(conv, weight, read * 255, SOURCE, output)
    torch.testing.assert_close((integers * output.step).mean((0, 2, 3)), mean, rtol=0, atol=0.03)


def test_a_channel_without_weights_keeps_its_bias():
    conv = make_conv(kernel=3)
    conv = replace(conv, weight=conv.weight.copy())
    conv.weight[4] = 0
    x = torch.rand(4, 12, 6, 6)
    mean = float_conv(conv, x).mean((0, 2, 3))
    weight = quantize_conv(conv, x, x, SOURCE, mean)
    assert weight.bias[4] * SOURCE.step * weight.scale[4] == pytest.approx(conv.bias[4], rel=1e-4)
    assert abs(int(weight.bias[4])) <= 2**24 + 1


@pytest.mark.parametrize("gain", [0.01, 1, 20])
def test_features_that_no_classifier_reads_keep_their_size(tiny, gain):
    """Equalisation leaves the last output as it is, so eight bits must cover what it really reaches."""
    model = create_model(
        replace(tiny, se_blocks=(0, 0, 0, 0)), num_classes=0, in_chans=3, form="inference"
    ).eval()
    model.set_input_size(32)
    with torch.no_grad():
        for parameter in model.stages[-1][-1].parameters():
            parameter.mul_(gain)
    pictures = seeded_pictures(model.input_spec, number=16)
    wanted = logits_in_batches(TorchClassifier(model), pictures)
    got = simulate(quantize_layers(layers_of(model), pictures), pictures)
    assert (got - wanted).norm() < 0.03 * wanted.norm()


def test_every_part_helps(small_network, small_pictures, quantized):
    """The whole against its own ranges by maximum: no worse, on pictures that it was not calibrated on."""
    from mobileone.exporting.parity import seeded_pictures

    held = seeded_pictures(small_network.input_spec, number=32, seed=5)
    expected = logits_in_batches(TorchClassifier(small_network), held)
    widest = quantize_layers(layers_of(small_network), small_pictures, rule="minmax")
    whole, other = (compare_logits(expected, simulate(q, held)).sqnr_db for q in (quantized, widest))
    assert whole > other - 3
    assert whole > 15
