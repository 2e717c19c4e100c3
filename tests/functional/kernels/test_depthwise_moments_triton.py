"""In Triton's interpreter against the definition in float64, and compiled for three kinds of GPU."""

import pytest

CASES = """
import sys
import torch
from mobileone.functional.kernels.depthwise_moments_triton import depthwise_moments
from mobileone.functional.online.moments import reference_moments
from mobileone.functional.window import Window

torch.manual_seed(0)
for shape, stride, dtype, mean in {cases}:
    dtype, window = getattr(torch, dtype), Window((3, 3), (stride, stride), (1, 1))
    x = (torch.randn(shape) + mean).to(dtype).contiguous(memory_format=torch.channels_last)
    wanted = reference_moments(x.double(), window, groups=shape[1])
    shift, mean, cov = depthwise_moments(x, window)
    assert mean.dtype == cov.dtype == torch.float32
    assert shift.is_contiguous() and mean.is_contiguous() and cov.is_contiguous(), "as its fake kernel says"
    scale = wanted.cov.abs().max().clamp(min=1)
    largest = wanted.mean.abs().max().clamp(min=1)
    assert (mean - wanted.mean).abs().max() < 1e-5 * largest, (shape, stride, dtype)
    assert (cov - wanted.cov).abs().max() < 1e-5 * scale, (shape, stride, dtype)
print("all cases")
"""
SMALL = [((1, 3, 6, 5), 1, "float32", 3), ((2, 5, 5, 4), 2, "bfloat16", 3), ((1, 2, 1, 1), 1, "float32", 3)]
MORE = [
    ((2, 5, 7, 13), 1, "float32", 3),
    ((2, 33, 5, 9), 2, "bfloat16", 3),
    ((1, 48, 14, 2), 1, "float16", 3),
    ((1, 3, 2, 3), 1, "float32", 3),
    ((3, 17, 3, 4), 1, "bfloat16", 0),
    ((1, 3, 6, 1), 2, "float32", 3),
    ((2, 16, 4, 8), 1, "float32", 1e4),
    ((2, 16, 7, 8), 2, "float16", 100),
]

# The products over 66 images of one pixel each, 2^25 channels apart, of which 16 are read.
FAR = """
import torch
from mobileone.functional.kernels import depthwise_moments_triton as kernels

images, channels = 66, 1 << 25
x = torch.empty((images - 1) * channels + 16, dtype=torch.float16)  # memory is taken where it is written
for image in range(images):
    x[image * channels : image * channels + 16] = image
sums = torch.empty(54 * channels)
kernels._products_kernel[(1, 1)](
    x, torch.zeros(16), sums, images, 1, 1, 1, channels, 1, 1,
    stride=2, frame=False, block_outputs=4, block_channels=16,
)
middle, square = 4, 9 + 30  # tap 4, and its product with itself
print(sums[middle * channels], sums[square * channels])
"""


def test_triton_moments_are_the_references(interpreted):
    assert interpreted(CASES.format(cases=SMALL)) == "all cases"


@pytest.mark.slow
def test_triton_moments_at_odd_sizes_and_large_means(interpreted):
    assert interpreted(CASES.format(cases=MORE)) == "all cases"


@pytest.mark.slow
def test_triton_moments_of_more_elements_than_32_bits_count(interpreted):
    """Element offsets from 2^31 on, which 32 bits would wrap to before the tensor's start."""
    assert interpreted(FAR) == f"tensor({sum(range(66))}.) tensor({sum(n * n for n in range(66))}.)"


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [(90, "bf16"), *(pytest.param(a, d, marks=pytest.mark.slow) for a in (80, 86) for d in ("bf16", "fp32"))],
)
@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize("name", ["lags", "products", "frame"])
def test_triton_moments_compile_without_spills(compile_for, arch, dtype, block, name):
    from mobileone.functional.kernels import depthwise_moments_triton as kernels

    warps, options = block // 16, {}
    if name == "lags":
        options = {"maxnreg": kernels.LAG_REGISTERS}
        kernel, constants = kernels._lags_kernel, {"block_columns": kernels.LAG_COLUMNS}
    else:
        kernel, frame = kernels._products_kernel, name == "frame"
        outputs = kernels.PRODUCT_ELEMENTS * warps // block
        constants = {"block_outputs": outputs, "frame": frame, "stride": 1 if frame else 2}
    made = compile_for(kernel, arch, dtype, warps=warps, options=options, block_channels=block, **constants)
    assert made.stack_bytes == 0
    assert made.registers <= 200
    assert made.shared_bytes <= 1024
    assert made.shuffles <= 6 * 54, "sums are reduced once, at the end"
    assert made.instructions < 4000
