import json

import pytest

pytest.importorskip("triton")

from mobileone.functional.kernels.depthwise_tiles import (
    ENOUGH_PROGRAMS,
    NUM_PROGRAMS,
    frame_size,
    programs_for_sums,
    strip_height,
    tiles_of,
)


@pytest.mark.parametrize(
    ("channels", "wanted"),
    [(48, (16, 1, 3)), (128, (64, 4, 2)), (96, (32, 2, 3)), (1024, (64, 4, 16)), (5, (16, 1, 1))],
)
def test_channels_are_cut_so_that_no_lane_idles(channels, wanted):
    assert tiles_of(channels) == wanted


def test_sums_are_shared_by_a_bounded_number_of_programs():
    assert programs_for_sums(10**6, 16) * 16 <= NUM_PROGRAMS
    assert programs_for_sums(3, 16) == 3
    assert programs_for_sums(0, 1) == 1


def test_images_are_cut_into_strips_only_where_there_are_few():
    assert strip_height(112, ENOUGH_PROGRAMS) == 112
    assert strip_height(112, 1) == 8
    assert strip_height(7, 1) == 7


FRAMES = """
import torch, triton, triton.language as tl
from mobileone.functional.kernels.depthwise_tiles import frame_position

@triton.jit
def positions(out, height, width, thickness: tl.constexpr, block: tl.constexpr):
    i = tl.arange(0, block)
    row, column = frame_position(i, height, width, thickness)
    tl.store(out + 2 * i, row)
    tl.store(out + 2 * i + 1, column)

def of(height, width):
    out = torch.empty(64, 2, dtype=torch.int32)
    positions[(1,)](out, height, width, thickness=2, block=64)
    return out.tolist()

print([of(*size) for size in SIZES])
"""
SIZES = [(7, 5), (4, 4), (3, 6), (1, 1), (2, 9)]


def test_a_frame_has_each_of_its_pixels_once(interpreted):
    positions = json.loads(interpreted(FRAMES.replace("SIZES", str(SIZES))))
    for (height, width), found in zip(SIZES, positions, strict=True):
        wanted = {
            (y, x)
            for y in range(height)
            for x in range(width)
            if min(y, height - 1 - y) < 2 or min(x, width - 1 - x) < 2
        }
        assert {tuple(pair) for pair in found[: frame_size(height, width, 2)]} == wanted
        assert len(wanted) == frame_size(height, width, 2)
