import pytest
import torch
from torch.nn import functional as F

from mobileone.functional.online.normalized import (
    AffineFactors,
    normalized_convolution,
    normalized_convolution_torch,
)
from mobileone.functional.window import Window, subsample

EPS = 1e-3
CASES = {
    "pointwise with identity": (Window(), 1, 8, 8, True),
    "pointwise": (Window(), 1, 8, 12, False),
    "depthwise with scale": (Window((3, 3), padding=(1, 1)), 8, 8, 8, True),
    "depthwise with scale, stride 2": (Window((3, 3), (2, 2), (1, 1)), 8, 8, 8, True),
    "grouped": (Window((3, 3), padding=(1, 1)), 2, 8, 8, False),
}


def find_factors(of_y, of_x, parameters):
    """BatchNorm of y with gain and shift, and of x with a gain, where there is one."""
    gain, shift, *of_input = parameters
    c = None if of_x is None else of_input[0] * (of_x.var + EPS).rsqrt()
    # Factors are of differences from means that count as constants, so the means' own gradients go by b.
    a = gain * (of_y.var + EPS).rsqrt()
    b = shift - a * (of_y.mean - of_y.mean.detach())
    if of_x is not None:
        b = b - c * (of_x.mean - of_x.mean.detach())
    return AffineFactors(a, c, b)


def written_out(x, weight, window, parameters, groups, relu):
    gain, shift, *of_input = parameters
    y = F.conv2d(x, weight, None, window.stride, window.padding, window.dilation, groups)
    out = F.batch_norm(y, None, None, gain, shift, True, eps=EPS)
    if of_input:
        out = out + F.batch_norm(subsample(x, window.stride), None, None, of_input[0], None, True, eps=EPS)
    return out.relu() if relu else out


@pytest.mark.parametrize("compute", [normalized_convolution, normalized_convolution_torch])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients_are_those_of_convolution_and_batch_norm(case, relu, compute):
    window, groups, c_in, c_out, uses_input = CASES[case]
    x = (torch.randn(3, c_in, 7, 8, dtype=torch.float64) + 0.5).requires_grad_()
    weight = torch.randn(c_out, c_in // groups, *window.kernel, dtype=torch.float64, requires_grad=True)
    parameters = tuple(
        torch.randn(c_out, dtype=torch.float64, requires_grad=True) for _ in range(2 + uses_input)
    )
    options = {"groups": groups, "uses_input": uses_input, "relu": relu}
    out = compute(x, weight, window, find_factors, parameters, **options)
    wanted = written_out(x, weight, window, parameters, groups, relu)
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10, check_stride=False)
    leaves, factor = [x, weight, *parameters], torch.randn(wanted.shape, dtype=torch.float64)
    for got, exact in zip(
        torch.autograd.grad((out * factor).sum(), leaves),
        torch.autograd.grad((wanted * factor).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(got, exact, rtol=1e-9, atol=1e-9, check_stride=False)


def test_an_image_that_wants_no_gradient_gets_none():
    x, weight = torch.randn(2, 8, 5, 5), torch.randn(8, 8, 1, 1, requires_grad=True)
    parameters = tuple(torch.randn(8, requires_grad=True) for _ in range(3))
    out = normalized_convolution(
        x, weight, Window(), find_factors, parameters, groups=1, uses_input=True, relu=True
    )
    out.sum().backward()
    assert x.grad is None
    assert weight.grad.isfinite().all()
