"""Packed weights hold each weight once, where the kernels look for it."""

import numpy as np
import pytest

from mobileone.backends.c.packing import (
    LIFT,
    LIFT_BITS,
    MOST_PIXELS,
    can_lift,
    depthwise_lane_channels,
    falls_low,
    gather_places,
    lane_channels,
    pack_depthwise,
    pack_panels,
    panel_widths,
    safe_bias,
    settle_constants,
    tile_shape,
)
from mobileone.errors import ExportError


@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_lanes_hold_every_channel_once(vectors):
    assert sorted(lane_channels(vectors)) == list(range(16 * vectors))
    assert sorted(depthwise_lane_channels()) == list(range(64))


@pytest.mark.parametrize("channels", [1, 16, 17, 32, 33, 48, 49, 80, 96, 1000])
def test_panels_cover_all_channels_and_no_more_than_a_vector_besides(channels):
    covered = sum(16 * vectors * blocks for vectors, blocks in panel_widths(channels))
    assert channels <= covered < channels + 16


@pytest.mark.parametrize(("out", "inputs", "groups"), [(7, 5, 2), (48, 48, 12), (80, 30, 8), (33, 27, 7)])
def test_panels_multiply_as_the_matrix_does(out, inputs, groups):
    generator = np.random.default_rng(0)
    weight = generator.integers(-127, 128, (out, inputs)).astype(np.int8)
    bias = generator.integers(-999, 999, out).astype(np.int32)
    x = np.zeros(4 * groups, np.int64)
    x[:inputs] = generator.integers(0, 256, inputs)
    got, signed = np.zeros(2048, np.int64), np.zeros(2048, np.int64)
    for panel in pack_panels(weight, bias, bias.astype(np.float32), groups=groups):
        blocks = panel.layer.weights.reshape(panel.blocks, groups, panel.vectors * 16, 4).astype(np.int64)
        sums = np.einsum("bglk,gk->bl", blocks, x.reshape(groups, 4))
        less = np.einsum("bglk,gk->bl", blocks, x.reshape(groups, 4) - 128)
        channels = panel.channel + (
            np.arange(panel.blocks)[:, None] * panel.vectors * 16 + lane_channels(panel.vectors)
        )
        got[channels] = sums + panel.layer.bias.reshape(panel.blocks, -1)
        signed[channels] = less + panel.layer.signed_bias.reshape(panel.blocks, -1)
        np.testing.assert_array_equal(panel.layer.scale, panel.layer.bias)
    wanted = weight.astype(np.int64) @ x[:inputs] + bias
    np.testing.assert_array_equal(got[:out], wanted)
    np.testing.assert_array_equal(signed[:out], wanted)
    assert not got[out:].any()


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_columns_hold_the_kernel_and_with_stride_1_once_more_a_row_lower(stride):
    weight = np.random.default_rng(0).integers(-127, 128, (70, 1, 3, 3)).astype(np.int8)
    layer = pack_depthwise(weight, np.arange(70, dtype=np.int32), np.ones(70, np.float32), stride=stride)
    packed = layer.weights.reshape(2, 3, 2 // stride, 64, 4)
    for channel in (0, 1, 17, 63, 69):
        lane = int(np.flatnonzero(depthwise_lane_channels() == channel % 64)[0])
        taps = packed[channel // 64, :, :, lane]  # kx, row of output, row of input
        np.testing.assert_array_equal(taps[:, 0, :3].T, weight[channel, 0])
        assert not taps[:, 0, 3].any()
        if stride == 1:
            np.testing.assert_array_equal(taps[:, 1, 1:].T, weight[channel, 0])
        assert layer.bias[64 * (channel // 64) + lane] == channel


def test_tiles_waste_no_more_than_they_must():
    for pixels in (1, 7, 49, 56, 112):
        shape = tile_shape(64, 2, pixels)
        for family, size in shape.pixels:
            assert 1 <= size <= MOST_PIXELS[family][2]
    assert dict(tile_shape(64, 2, 56).pixels)["avx512vnni"] == 7


def test_a_bias_that_sums_could_overflow_is_moved_where_the_channel_never_fires():
    weight = np.full((2, 9), 100, np.int8)
    bias = np.array([-(2**31), 5], np.int32)
    safe = safe_bias("x", weight, bias, np.full(2, 1e-2, np.float32))
    assert safe.tolist() == [256 * 900 - (2**31 - 1), 5]


@pytest.mark.parametrize(("bias", "scale"), [(2**31 - 1, 1e-3), (0, 1e6), (-(2**31), 1e-9)])
def test_sums_that_do_not_fit(bias, scale):
    weight = np.full((1, 9), 100, np.int8)
    with pytest.raises(ExportError, match="conv: sums of products do not fit"):
        safe_bias("conv", weight, np.array([bias], np.int32), np.array([scale], np.float32))


def lifted(sums, scale):
    """What kernels make of sums that began 2^23 higher: one rounding of product and difference."""
    floats = (np.asarray(sums, np.int64) + LIFT_BITS).astype(np.int32).view(np.float32)
    exact = (floats.astype(np.float64) - LIFT) * np.float64(scale)
    return np.rint(exact.astype(np.float32)).clip(0, 255)


@pytest.mark.parametrize("scale", [1e-6, 3.0517578e-05, 3.1e-05, 0.0019, 0.1, 1.5])
def test_lifted_sums_give_the_same_bytes_where_they_may(scale):
    step = np.float32(scale)
    ends = np.array([-(2**24), -(2**23), -1, 0, 1, 2**22, 2**23 - 1, 2**23, 2**23 + 1, 2**24 + 3, 2**26])
    sums = np.concatenate([ends, np.random.default_rng(0).integers(-(2**23), 2**23, 5000)])
    wanted = np.rint(sums.astype(np.float32) * step).clip(0, 255)
    weight = np.array([[127]], np.int8)
    for total in (2**23, 2**26):  # the highest sum of a channel
        bias = np.array([total - 255 * 127], np.int32)
        if can_lift(weight, bias, np.array([step])):
            reached = sums <= total
            np.testing.assert_array_equal(lifted(sums[reached], step), wanted[reached])
        else:
            assert total > LIFT


@pytest.mark.parametrize(
    ("weight", "bias", "scale", "expected"),
    [
        (100, 0, 1e-3, True),
        (100, LIFT, 1e-6, False),  # sums that are not cut, and have no place
        (100, LIFT, 1e-4, True),  # these are cut
        (100, -(2**31) + 2, 1e-3, False),  # bits of a negative float
        (100, 2**31 - 1 - LIFT_BITS, 1e-3, False),
        (100, 2**29, 8.0, False),  # a product that leaves 32 bits
    ],
)
def test_which_sums_can_be_lifted(weight, bias, scale, expected):
    rows = np.full((2, 4), weight, np.int8)
    found = can_lift(rows, np.array([0, bias], np.int32), np.array([1e-3, scale], np.float32))
    assert found is expected


@pytest.mark.parametrize(
    ("weight", "bias", "scale", "expected"),
    [
        (100, 0, 1e-3, False),
        (-100, 0, 1.0, False),
        (-100, 0, 41.2, True),  # four bytes of 255
        (-100, 0, 41.0, False),
        (100, -(2**30), 3e-3, False),
        (100, -(2**30), 4e-3, True),
    ],
)
def test_which_sums_fall_too_low_to_be_rounded_by_adding(weight, bias, scale, expected):
    rows = np.full((2, 4), weight, np.int8)
    found = falls_low(rows, np.array([0, bias], np.int32), np.array([1e-3, scale], np.float32))
    assert found is expected
    # What the proof is for, at the lowest sum: adding and taking away rounds as it should where it says so.
    lowest = np.float32(bias + 4 * 255 * min(weight, 0)) * np.float32(scale)
    shift = np.float32(12582912)
    rounded = (lowest + shift).view(np.int32) - shift.view(np.int32)
    assert expected or rounded == np.rint(lowest)


def test_channels_without_weights_keep_their_output_and_can_be_lifted():
    weight = np.array([[0, 0], [3, -4]], np.int8)
    bias, scale = np.array([2**24, 7], np.int32), np.array([3.78e-6, 0.5], np.float32)
    assert not can_lift(weight, bias, scale)
    settled = settle_constants(weight, bias, scale)
    assert settled[0].tolist() == [63, 7]
    assert settled[1].tolist() == [1, 0.5]
    assert can_lift(weight, *settled)


def test_places_gather_what_two_outputs_of_the_first_convolution_read(little):
    stem = little.layers.convs[0]
    rows = np.random.default_rng(0).integers(1, 256, (3, 16)).astype(np.uint8)
    places = gather_places(stem)
    taken = np.where(places < 128, np.take_along_axis(rows, places % 16, 1), 0)
    assert ((places < 128).sum(0) <= 1).all()
    first, second = taken.max(0).reshape(2, 32)
    np.testing.assert_array_equal(first, [*rows[:, :9].reshape(-1), *[0] * 5])
    np.testing.assert_array_equal(second, [*rows[:, 6:15].reshape(-1), *[0] * 5])
