"""The Triton kernels in the interpreter, in a process of its own: the interpreter is chosen at import."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SCRIPT = """
import torch
from mobileone.functional.kernels import depthwise_moments_triton
from mobileone.functional.online.moments import reference_moments
from mobileone.functional.window import Window

torch.manual_seed(0)
CASES = [
    ((2, 5, 7, 13), Window((3, 3), (1, 1), (1, 1)), torch.float32),
    ((2, 33, 5, 9), Window((3, 3), (2, 2), (1, 1)), torch.bfloat16),
    ((1, 17, 6, 5), Window((5, 5), (1, 1), (2, 2)), torch.float16),
    ((1, 3, 1, 1), Window((3, 3), (1, 1), (1, 1)), torch.float32),
    ((1, 2, 4, 11), Window((1, 3), (2, 3), (0, 2), (1, 2)), torch.float32),
]
for shape, window, dtype in CASES:
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2  # the gradient is rounded to half precision
    x = (torch.randn(shape) + 3).to(dtype).contiguous(memory_format=torch.channels_last)
    exact = x.double().requires_grad_()
    wanted = reference_moments(exact, window, groups=shape[1])
    shift, mean, cov = depthwise_moments_triton.depthwise_moments(x, window)
    assert torch.allclose(mean.double(), wanted.mean, atol=1e-5), (shape, window, dtype)
    assert torch.allclose(cov.double(), wanted.cov, atol=1e-4), (shape, window, dtype)
    of_mean, of_cov = torch.randn(mean.shape).double(), torch.randn(cov.shape).double()
    start = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)
    (slow,) = torch.autograd.grad((wanted.mean * of_mean).sum() + (wanted.cov * of_cov).sum(), exact)
    slopes = (of_cov + of_cov.mT) / wanted.num
    offsets = of_mean / wanted.num - (slopes @ (mean - shift.unsqueeze(1)).double().unsqueeze(2)).squeeze(2)
    fast = start.clone()
    depthwise_moments_triton.depthwise_moments_backward_(fast, x, shift, slopes, offsets, window)
    error = (fast.double() - start.double() - slow).abs().max() / slow.abs().max().clamp(min=1)
    assert error < tolerance, (shape, window, dtype, error)
print("all cases")
"""

# One program of the kernel over 66 images of one pixel each, 2^25 channels apart, of which it reads 32.
FAR = """
import torch
from mobileone.functional.kernels import depthwise_moments_triton

images, channels = 66, 1 << 25
x = torch.empty((images - 1) * channels + 32, dtype=torch.float16)  # memory is taken where it is written
for image in range(images):
    x[image * channels : image * channels + 32] = image
out = torch.empty(2 * channels)
depthwise_moments_triton._moments_kernel[(1, 1)](
    x, torch.zeros(32), out, images, 1, 1, channels, 1, 1, 1, 1, 0, 0, 1, 1,
    kernel_h=1, kernel_w=1, block_positions=128, block_channels=32,
)
print(out[:32].unique().tolist(), out[channels : channels + 32].unique().tolist())
"""


def interpreted(script):
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.strip()


def test_kernels_in_the_interpreter_give_the_references_moments_and_gradients():
    assert interpreted(SCRIPT) == "all cases"


def test_moments_of_more_elements_than_32_bits_count():
    """Element offsets from 2^31 on, which 32 bits would wrap to before the tensor's start."""
    assert interpreted(FAR) == f"[{sum(range(66))}.0] [{sum(n * n for n in range(66))}.0]"
