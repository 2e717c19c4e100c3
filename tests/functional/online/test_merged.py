"""The two compiled nodes against the branches written out in float64."""

import pytest
import torch
from torch.nn import functional as F

from mobileone.functional import row_products
from mobileone.functional.online.merged import UnitBranches, merged_dense, merged_depthwise
from mobileone.functional.window import Window

SAME = Window((3, 3), padding=(1, 1))
STRIDED = Window((3, 3), (2, 2), (1, 1))
CASES = {
    "depthwise": (merged_depthwise, SAME, 17, 17, 17),
    "depthwise, stride 2": (merged_depthwise, STRIDED, 16, 16, 16),
    "depthwise 5×3": (merged_depthwise, Window((5, 3), padding=(2, 1)), 5, 5, 5),
    "pointwise": (merged_dense, Window(), 1, 24, 24),
    "pointwise, wider": (merged_dense, Window(), 1, 6, 9),
    "stem": (merged_dense, STRIDED, 1, 3, 8),
    "stem of one channel": (merged_dense, STRIDED, 1, 1, 8),
}


def as_they_are(statistics):
    return statistics


def unit(window, groups, c_in, c_out, *, dtype=torch.float64, k=2):
    """Convolutions, and where they fit a scale branch and the identity; the last BatchNorm has no shift."""
    scale = window.kernel != (1, 1)
    identity = c_in == c_out and window.stride == (1, 1)
    count = k + scale + identity
    size = (c_out, c_in // groups)
    kernels = [torch.randn(*size, *window.kernel, dtype=dtype, requires_grad=True) for _ in range(k)]
    shifts = [torch.randn(c_out, dtype=dtype, requires_grad=True) for _ in range(count - 1)]
    return UnitBranches(
        kernels=kernels,
        scale=torch.randn(*size, 1, 1, dtype=dtype, requires_grad=True) if scale else None,
        gains=[torch.randn(c_out, dtype=dtype, requires_grad=True) for _ in range(count)],
        shifts=[*shifts, None],
        eps=[1e-3 * (1 + i) for i in range(count)],
        identity=identity,
        window=window,
        groups=groups,
    )


def written_out(x, branches):
    """Each branch by torch's convolution and BatchNorm, and their sum."""
    _, stride, padding, dilation = branches.window
    outputs = [F.conv2d(x, w, None, stride, padding, dilation, branches.groups) for w in branches.kernels]
    if branches.scale is not None:
        outputs.append(F.conv2d(x, branches.scale, None, stride, groups=branches.groups))
    if branches.identity:
        outputs.append(x)
    parameters = zip(outputs, branches.gains, branches.shifts, branches.eps, strict=True)
    return sum(F.batch_norm(z, None, None, gain, shift, True, eps=eps) for z, gain, shift, eps in parameters)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_output_and_gradients_are_those_of_the_branches(case, relu):
    merged, *shape = CASES[case]
    branches = unit(*shape)
    x = torch.randn(3, shape[2], 9, 8, dtype=torch.float64) + 0.5
    leaves = [*([] if "stem" in case else [x.requires_grad_()]), *branches.parameters()]
    out, wanted = merged(x, branches, as_they_are, relu=relu), written_out(x, branches)
    wanted = wanted.relu() if relu else wanted
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10, check_stride=False)
    weight = torch.randn(wanted.shape, dtype=torch.float64)
    for got, exact in zip(
        torch.autograd.grad((out * weight).sum(), leaves),
        torch.autograd.grad((wanted * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(got, exact, rtol=1e-8, atol=1e-8, check_stride=False)


@pytest.mark.parametrize("case", CASES)
def test_in_float32_it_is_as_near_as_rounding_allows(case):
    """A stem of one channel has its moments from the depthwise kernels, in float64."""
    merged, *shape = CASES[case]
    branches = unit(*shape, dtype=torch.float32)
    x = torch.randn(3, shape[2], 9, 8)
    out = merged(x, branches, as_they_are, relu=False)
    wanted = written_out(x, branches)
    assert out.dtype == torch.float32
    assert (out - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("amd", [False, True])
@pytest.mark.parametrize("mean", [0.5, 5.0, 100.0, 1e4])
def test_at_any_mean_a_pointwise_units_input_has_a_gradient_about_as_exact_as_by_branches(
    monkeypatch, mean, amd
):
    monkeypatch.setattr(row_products, "is_amd", lambda: amd)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    branches = unit(Window(), 1, 24, 24, dtype=torch.float32)
    x = (torch.randn(8, 24, 9, 8) + mean).requires_grad_()
    weight = torch.randn(8, 24, 9, 8)
    exact = branches.with_parameters([p.detach().double() for p in branches.parameters()])
    forms = (
        merged_dense(x, branches, as_they_are, relu=False),
        written_out(x, branches),
        written_out(x.double(), exact),
    )
    found, rounded, wanted = (torch.autograd.grad((out * weight).sum(), x)[0] for out in forms)
    assert (found - wanted).norm() < 8 * (rounded - wanted).norm() + 1e-6 * wanted.norm()


@pytest.mark.parametrize("case", ["depthwise", "pointwise"])
def test_what_settle_gives_is_normalised_with_and_gradients_flow_through_it(case):
    merged, *shape = CASES[case]
    branches = unit(*shape)
    x = torch.randn(3, shape[2], 6, 6, dtype=torch.float64, requires_grad=True)

    def half(statistics):
        return type(statistics)(statistics.mean / 2, statistics.var / 2)

    def still(statistics):
        return type(statistics)(*(value.detach() / 2 + 0 * value for value in statistics))

    outs = [merged(x, branches, settle, relu=False) for settle in (as_they_are, half, still)]
    assert not torch.allclose(outs[0], outs[1])
    assert torch.equal(outs[1], outs[2])
    grads = [torch.autograd.grad(out.square().sum(), x)[0] for out in outs]
    assert not torch.allclose(grads[1], grads[2]), "the statistics' own part is missing"


def test_parameters_that_are_not_there_get_no_gradient():
    branches = unit(*CASES["depthwise"][1:])
    names = len(branches.kernels) + 1 + len(branches.gains) + len(branches.shifts) - 1
    assert len(branches.parameters()) == names
    grads = branches.split(
        torch.ones(3, 17, 9, dtype=torch.float64), torch.ones(4, 17), torch.ones(17, dtype=torch.float64)
    )
    assert [g.shape for g in grads] == [p.shape for p in branches.parameters()]
    shifts = grads[-3:]
    assert len({g.data_ptr() for g in shifts}) == 3, "gradients that share memory add up into it together"


@pytest.mark.parametrize("case", ["depthwise", "pointwise"])
def test_gradients_do_not_depend_on_the_number_of_threads(case):
    merged, window, groups, *_ = CASES[case]
    branches = unit(window, 24 if groups > 1 else 1, 24, 24, dtype=torch.float32)
    x = torch.randn(5, 24, 13, 13).requires_grad_()
    leaves, threads, results = [x, *branches.parameters()], torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            out = merged(x, branches, as_they_are, relu=True)
            results.append(torch.autograd.grad(out.square().sum(), leaves))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            # torch's own matrix products cut their sums by threads; the depthwise kernels do not.
            assert (
                torch.equal(a, b)
                if groups > 1
                else torch.allclose(a, b, rtol=1e-4, atol=1e-5 * a.abs().max())
            )
