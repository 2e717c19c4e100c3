"""What channels are divided by, and how much each matters."""

from dataclasses import replace

import pytest
import torch

from mobileone.quantization.equalize import cutting_noise
from mobileone.quantization.factors import choose_factors, output_effects, sampled
from mobileone.quantization.simulate import float_layer


def test_sampled_positions_stand_for_all(spread_out, reader_of):
    x, weight = spread_out
    ranges = x.amax((0, 2, 3))
    sample, share = sampled(x, ranges)
    assert share.sum().item() == pytest.approx(1)
    assert sample.shape == (24, 4 * len(share), 1)
    loudest = (x / ranges[:, None, None]).amax((1, 2, 3))
    torch.testing.assert_close((sample[..., 0] / ranges[:, None]).amax(0).view(4, -1).amax(1), loudest)
    # Nothing but the loudest positions is cut here, so the estimate is exact.
    reader = reader_of(x, weight)
    few = replace(reader, sample=sample, share=share)
    torch.testing.assert_close(
        cutting_noise(0.97 * ranges, few), cutting_noise(0.97 * ranges, reader), rtol=1e-3, atol=1e-6
    )


def test_effects_are_what_errors_do(unpadded, layer_logits):
    """Small errors in one layer's sums move the logits as its effects say; another channel's would not."""
    layers, image = unpadded
    with torch.no_grad():
        effects = output_effects(layers, image.repeat(8, 1, 1, 1))
        wanted = layer_logits(layers, image)
        index, size = 3, 1e-3
        x = image
        for conv in layers.convs[:index]:
            x = float_layer(conv, x)[1]
        before = float_layer(layers.convs[index], x)[0]
        assert layers.convs[index].attention is None
        loudest = int(effects[index].argmax())
        generator = torch.Generator().manual_seed(0)
        got = []
        for _ in range(8):
            moved = before.clone()
            moved[:, loudest] += size * torch.randn(before[:, 0].shape, generator=generator)
            got.append(layer_logits(replace(layers, convs=layers.convs[index + 1 :]), moved.relu()) - wanted)
    error = torch.stack(got)
    error = error - error.mean(2, keepdim=True)
    power = (wanted - wanted.mean(1, keepdim=True)).square().sum(1).mean()
    measured = (error.square().sum(2).mean() / power / size**2).item()
    assert effects[index][loudest].item() == pytest.approx(measured, rel=0.3)
    assert effects[index].median().item() < 0.5 * measured


def test_what_a_depthwise_layer_reads_is_divided_by_its_ranges(unpadded):
    """There that is free; elsewhere the factors are balanced."""
    layers, image = unpadded
    with torch.no_grad():
        factors = choose_factors(layers, image, "minmax")
    assert len(factors) == len(layers.convs)
    x, free = image, 0
    for conv, reader, factor in zip(layers.convs, [*layers.convs[1:], None], factors, strict=True):
        x = float_layer(conv, x)[1]
        if conv.attention is None and reader is not None and reader.is_depthwise:
            ranges = x.amax((0, 2, 3))
            fires = ranges > 0.02 * ranges.median()
            torch.testing.assert_close(factor[fires], ranges[fires])
            free += 1
    assert free > 1
