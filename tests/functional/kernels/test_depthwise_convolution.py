import pytest
import torch
from torch.nn import functional as F

from mobileone.functional.kernels.depthwise_convolution import convolution, input_gradient, kernel_gradient
from mobileone.functional.memory_layout import channels_last
from mobileone.functional.window import Window

WINDOWS = [
    Window((3, 3), padding=(1, 1)),
    Window((3, 3), (2, 2), (1, 1)),
    Window((5, 3), (1, 2), (2, 0), (1, 2)),
    Window(),
]


def case(window, channels, *, relu):
    """Input, kernel (C, 1, kh, kw), bias and torch's own result, which knows its gradients."""
    x = channels_last(torch.randn(3, channels, 8, 9, dtype=torch.float64)).requires_grad_()
    kernel = torch.randn(channels, 1, *window.kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(channels, dtype=torch.float64, requires_grad=True)
    _, *rest = window
    out = F.conv2d(x, kernel, bias, *rest, channels)
    return x, kernel, bias, out.relu() if relu else out


def taps_first(kernel):
    return kernel.detach().flatten(1).T.contiguous()


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("channels", [1, 8, 17])
@pytest.mark.parametrize("window", WINDOWS)
def test_convolution_and_its_gradients_are_torchs(window, channels, relu):
    x, kernel, bias, wanted = case(window, channels, relu=relu)
    out = convolution(x.detach(), taps_first(kernel), bias.detach(), window, relu=relu)
    torch.testing.assert_close(out, wanted, rtol=1e-12, atol=1e-12, check_stride=False)
    grad = channels_last(torch.randn(wanted.shape, dtype=torch.float64))
    of_x, of_kernel, of_bias = torch.autograd.grad(wanted, (x, kernel, bias), grad)
    result = out if relu else None

    shift = torch.randn(channels, dtype=torch.float64)
    sums = kernel_gradient(x.detach(), shift, grad, result, window).sum(0)
    torch.testing.assert_close(sums[-1], of_bias, rtol=1e-11, atol=1e-11)
    # Sums are of taps less the shift, and a tap of the padding is 0 less the shift.
    torch.testing.assert_close(sums[:-1] + shift * sums[-1], of_kernel.flatten(1).T, rtol=1e-11, atol=1e-11)

    taps = window.num_taps
    nothing = torch.zeros(taps, taps, channels).double(), torch.zeros(taps, channels).double()
    got = input_gradient(x.detach(), shift, *nothing, grad, result, taps_first(kernel), window)
    torch.testing.assert_close(got, of_x, rtol=1e-11, atol=1e-11, check_stride=False)


def test_nan_passes_the_relu_forward_and_back():
    window = WINDOWS[0]
    x, kernel, bias, _ = case(window, 8, relu=True)
    x = x.detach().clone()
    x[0, 3, 4, 4] = torch.nan
    out = convolution(x, taps_first(kernel), bias.detach(), window, relu=True)
    assert out[0, 3, 4, 4].isnan()
    assert not out[1:].isnan().any()
    sums = kernel_gradient(x, torch.zeros(8).double(), torch.ones_like(out), out, window).sum(0)
    assert sums[:, 3].isnan().any()
    assert not sums[:, :3].isnan().any()
