import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mobileone.functional.online import kernel_table
from mobileone.functional.online import moments as module
from mobileone.functional.online.kernel_table import moments_kernel
from mobileone.functional.online.moments import patch_moments, reference_moments
from mobileone.functional.window import Window


@st.composite
def problems(draw):
    """Input shape, window and groups of a convolution with at least one output."""
    kernel = draw(st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.sampled_from([(1, 1), (1, 2), (2, 1)]))
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    window = Window(kernel, stride, padding, dilation)
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kind = draw(st.sampled_from(["depthwise", "pointwise", "grouped", "dense"]))
    channels = draw(st.sampled_from([2, 4, 6, 34] if kind != "depthwise" else [1, 3, 8, 16, 17, 40]))
    groups = {"depthwise": channels, "grouped": 2}.get(kind, 1)
    if kind == "pointwise":
        window = Window()
    return (draw(st.integers(1, 3)), channels, height, width), window, groups


def gradients(moments, x, seed=0):
    """Gradient of x under a random linear function of the moments and of x itself."""
    generator = torch.Generator().manual_seed(seed)
    seen, (mean, cov, _) = moments(x)
    loss = 0
    for value in (seen, mean, cov):
        # The covariance is given an asymmetric gradient on purpose.
        loss = loss + (value * torch.randn(value.shape, generator=generator, dtype=torch.float64)).sum()
    return torch.autograd.grad(loss, x)[0]


def check(shape, window, groups):
    x = torch.randn(shape, dtype=torch.float64).requires_grad_()
    wanted = reference_moments(x, window, groups=groups)
    got = patch_moments(x, window, groups=groups)[1]
    assert got.num == wanted.num
    assert torch.allclose(got.mean, wanted.mean, rtol=1e-12, atol=1e-13)
    assert torch.allclose(got.cov, wanted.cov, rtol=1e-12, atol=1e-13)
    fast = gradients(lambda x: patch_moments(x, window, groups=groups), x)
    slow = gradients(lambda x: (x, reference_moments(x, window, groups=groups)), x)
    assert torch.allclose(fast, slow, rtol=1e-11, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(problems())
def test_fast_moments_and_their_gradients_are_the_references(problem):
    torch.manual_seed(1)
    check(*problem)


@pytest.mark.parametrize("size", [1, 2, 7, 20])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_in_plain_torch_and_compiled_agree(monkeypatch, size, stride):
    problem = (2, 20, size, size), Window((3, 3), (stride, stride), (1, 1)), 20
    x = torch.zeros(problem[0])
    assert moments_kernel(x, problem[1], groups=20) == "depthwise_c", "the tests need a C compiler"
    check(*problem)
    monkeypatch.setattr(kernel_table, "has_kernels", lambda *_: False)
    assert moments_kernel(x, problem[1], groups=20) == "unfold"
    monkeypatch.setattr(module, "MAX_COLUMNS", {"cpu": 1})  # image by image
    check(*problem)


@pytest.mark.parametrize("groups", [1, 24])
def test_float32_is_as_near_to_float64_as_rounding_allows(groups):
    x = torch.randn(4, 24, 40, 40) * 3 + 5
    window = Window() if groups == 1 else Window((3, 3), padding=(1, 1))
    exact = reference_moments(x.double(), window, groups=groups)
    got = patch_moments(x, window, groups=groups)[1]
    assert (got.cov - exact.cov).abs().max() < 3e-6 * exact.cov.abs().max()
    assert (got.mean - exact.mean).abs().max() < 1e-6 * exact.mean.abs().max()


@pytest.mark.parametrize("groups", [1, 8])
def test_a_huge_mean_costs_no_accuracy(groups):
    """Mean 1e4, standard deviation 1: sums of squares that are not centred would be noise in float32."""
    x = torch.randn(4, 8, 20, 20) + 1e4
    window = Window() if groups == 1 else Window((3, 3))
    exact = reference_moments(x.double(), window, groups=groups)
    got = patch_moments(x, window, groups=groups)[1]
    assert (got.cov - exact.cov).abs().max() < 1e-5
    uncentred = (x**2).mean() - x.mean() ** 2
    assert abs(uncentred - 1) > 1e-2, "the test no longer shows what centring is for"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("groups", [1, 8])
def test_half_precision_accumulates_in_float32(dtype, groups):
    x = (torch.randn(4, 8, 20, 20) + 1).to(dtype).requires_grad_()
    window = Window() if groups == 1 else Window((3, 3), padding=(1, 1))
    exact = reference_moments(x.double(), window, groups=groups)
    seen, got = patch_moments(x, window, groups=groups)
    assert (seen.dtype, got.cov.dtype) == (dtype, torch.float32)
    assert (got.cov - exact.cov).abs().max() < 1e-5
    (grad,) = torch.autograd.grad(got.cov.sum(), x)
    assert grad.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("ratio", [0.5, 4, 60])
@pytest.mark.parametrize(
    "num", [4000, 3000, 1400]
)  # pieces and a rest, pieces alone, fewer rows than a piece
def test_a_half_precision_gram_product_loses_what_it_says(monkeypatch, dtype, ratio, num):
    monkeypatch.setattr(module, "_products_in_float32", lambda a: (a.float().mT @ a.float()).sum(0))
    monkeypatch.setattr(module, "HALF_ROWS", 1500)
    tolerance = 2e-5 * (1 + ratio**2)
    rows = (torch.randn(num, 6) + ratio).to(dtype)
    exact = rows.double() - rows.double().mean(0)
    wanted = exact.T @ exact / len(rows)
    cov = module.half_gram(rows, rows.mean(0, dtype=torch.float32))
    assert cov.dtype == torch.float32
    assert (cov - wanted).abs().max() < tolerance * wanted.diagonal().max()
    constant = module.half_gram(torch.full_like(rows, 3.3), torch.full((6,), 3.3))
    assert (constant.diagonal() >= 0).all()


def test_a_bias_is_that_of_the_rounded_kernel():
    """Otherwise a channel's mean moves by what rounding takes off its kernel, times its patches' mean."""
    x, kernel = torch.randn(4, 8, 9, 9).abs() + 1, torch.rand(4, 2, 3, 3)
    moments = reference_moments(x, Window((3, 3)), groups=4)
    rounded, bias = kernel.bfloat16(), torch.zeros(4)
    wanted = torch.nn.functional.conv2d(x, kernel, groups=4).mean((0, 2, 3))
    plain = torch.nn.functional.conv2d(x, rounded.float(), groups=4).mean((0, 2, 3))
    mended = plain + module.rounded_bias(bias, kernel, rounded, moments.mean)
    assert (mended - wanted).abs().max() < 1e-2 * (plain - wanted).abs().max()
    assert module.rounded_bias(bias, kernel, kernel, moments.mean) is bias
