"""Every operation of the policies, by what it does to pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobileone.data.operations import OPERATIONS, Operation, apply_operations
from mobileone.errors import ConfigError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def ramp():
    """Every grey value once, 16 × 16."""
    return torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(3, 1, 1)


def apply_one(image, name, amount):
    return apply_operations(image, (Operation(name, amount),))


def test_nothing_to_do_changes_nothing(picture):
    image = to_tensor(picture(0, 32, 32))
    assert torch.equal(apply_operations(image, ()), image)
    others = {"identity", "auto_contrast", "equalize", "invert"}  # no magnitude, or nothing to do
    for name in set(OPERATIONS) - others:
        assert torch.equal(apply_one(image, name, 0.0), image), name


def test_the_input_is_not_written_to(picture):
    image = to_tensor(picture(1, 32, 32))
    before = image.clone()
    for name in OPERATIONS:
        apply_one(image, name, 0.9)
    assert torch.equal(image, before)


@pytest.mark.parametrize(("level", "bits"), [(5, 6), (6, 5), (7, 5), (8, 4), (9, 4)])
def test_posterize_keeps_the_papers_bits(level, bits):
    step = 2 ** (8 - bits)
    for sign in (1, -1):
        assert torch.equal(apply_one(ramp(), "posterize", sign * level / 9), ramp() // step * step)


@pytest.mark.parametrize("level", range(1, 10))
def test_solarize_inverts_the_brighter_share(level):
    threshold = round(256 * (1 - level / 9))
    expected = torch.where(ramp() < threshold, ramp(), 255 - ramp())
    for sign in (1, -1):
        assert torch.equal(apply_one(ramp(), "solarize", sign * level / 9), expected)


def test_operations_without_magnitude():
    assert torch.equal(apply_one(ramp(), "invert", 0.5), 255 - ramp())
    narrow = (ramp() // 4) + 50
    assert int(apply_one(narrow, "auto_contrast", 0.5).max()) >= 254  # Pillow rounds down
    assert int(apply_one(narrow, "auto_contrast", 0.5).min()) == 0
    skewed = ((ramp().double() / 255) ** 3 * 100).round().to(torch.uint8)
    assert skewed.max() == 100
    assert apply_one(skewed, "equalize", 0.5).float().median() > skewed.float().median() + 50


def test_colour_contrast_and_sharpness_go_both_ways(picture):
    image = to_tensor(picture(2, 48, 48))

    def saturation(pixels):
        return (pixels.float().amax(0) - pixels.float().amin(0)).mean()

    def edges(pixels):
        return pixels.float().diff(dim=-1).abs().mean()

    measures = {"color": saturation, "contrast": lambda pixels: pixels.float().std(), "sharpness": edges}
    for name, measure in measures.items():
        less, more = apply_one(image, name, -0.8), apply_one(image, name, 0.8)
        assert measure(less) < measure(image) < measure(more), name
    assert saturation(apply_one(image, "color", -1.0)) < 0.2 * saturation(image)


def test_rotation_is_30_degrees_at_most_and_fills_grey():
    line = torch.zeros(3, 101, 101, dtype=torch.uint8)
    line[:, 50, :] = 255
    for sign in (1, -1):
        turned = apply_one(line, "rotate", float(sign))
        bright = (turned[0] > 150).nonzero().double()
        bright -= bright.mean(0)
        slope = torch.linalg.lstsq(bright[:, 1:], bright[:, :1]).solution.item()
        assert np.degrees(np.arctan(-slope)) == pytest.approx(30 * sign, abs=1)
        assert turned[:, 0, 0].tolist() == [128, 128, 128]


def test_shear_moves_rows_about_the_centre():
    line = torch.zeros(3, 101, 101, dtype=torch.uint8)
    line[:, :, 50] = 255
    sheared = apply_one(line, "shear_x", 1.0)[0].float()
    places = [sheared[row, 20:81].argmax().item() + 20 for row in (0, 50, 100)]
    assert abs(places[1] - 50) <= 1
    assert places[0] - places[2] == pytest.approx(30, abs=2)
    mirrored = apply_one(line, "shear_x", -1.0)[0].float()
    assert mirrored[0, 20:81].argmax().item() + 20 == pytest.approx(100 - places[0], abs=2)


def test_shear_and_shift_downwards_are_the_sideways_ones_turned(picture):
    image = to_tensor(picture(4, 33, 33))
    for across, down in (("shear_x", "shear_y"), ("translate_x", "translate_y")):
        turned = apply_one(image.transpose(1, 2).contiguous(), down, 0.6).transpose(1, 2)
        assert torch.equal(turned, apply_one(image, across, 0.6)), down


def test_a_shift_of_half_its_range_moves_23_percent_of_the_side():
    line = torch.zeros(3, 9, 100, dtype=torch.uint8)
    line[:, :, 50] = 255
    assert apply_one(line, "translate_x", 0.5)[0, 4].argmax().item() == 50 + 23  # 100 · 150/331 / 2
    assert apply_one(line, "translate_x", -0.5)[0, 4].argmax().item() == 50 - 23
    assert apply_one(line, "translate_x", 0.5)[:, 4, 0].tolist() == [128, 128, 128]


def test_brightness_multiplies():
    assert apply_one(ramp() // 2, "brightness", 1.0).max() == int(127 * 1.9)
    assert apply_one(ramp(), "brightness", -1.0).max() == 25


def test_every_operation_returns_an_image_of_the_same_kind(picture):
    image = to_tensor(picture(3, 20, 30))
    for name in OPERATIONS:
        result = apply_one(image, name, -1.0)
        assert result.shape == image.shape
        assert result.dtype == torch.uint8
    two = apply_operations(image, (Operation("invert", 1.0), Operation("invert", 1.0)))
    assert torch.equal(two, image)


def test_only_rgb():
    with pytest.raises(ConfigError, match="need RGB images, got 1 channels"):
        apply_one(torch.zeros(1, 8, 8, dtype=torch.uint8), "invert", 1.0)
