import pytest
import torch

from mobileone.functional.kernels.branch_stack import BranchStack
from mobileone.functional.online.branch_statistics import BranchStatistics, branch_statistics
from mobileone.functional.online.branch_sum import sum_branches
from mobileone.functional.online.moments import PatchMoments

EPS = torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)


def stack(channels, patch, taps, dtype=torch.float64):
    """Two convolutions and the identity."""
    weight = torch.randn(2, channels, patch, dtype=dtype)
    gamma, beta = torch.randn(3, channels, dtype=dtype), torch.randn(3, channels, dtype=dtype)
    return BranchStack(weight, gamma, beta, EPS, taps)


def covariance(*size):
    root = torch.randn(*size, size[-1], dtype=torch.float64)
    return root @ root.mT


def as_kernels(branches):
    """(B, C_out, C_in / groups, kh, kw) of a depthwise (3×3) or pointwise stack."""
    side = round(branches.taps**0.5)
    return branches.weight.unflatten(2, (-1, side, side))


def test_dense_statistics_and_their_gradients_are_those_of_the_composed_form():
    branches = stack(6, 6, 1)
    mean, cov = torch.randn(6, dtype=torch.float64, requires_grad=True), covariance(6)
    kernels = as_kernels(branches).requires_grad_()
    wanted = branch_statistics(kernels, PatchMoments(mean[None], cov[None], 9), identity=True)
    product = branches.weight @ cov
    got = branches.dense_statistics(product, mean.detach(), cov.diagonal().contiguous())
    torch.testing.assert_close(got, tuple(wanted), rtol=1e-11, atol=1e-11)

    of_means, of_vars = torch.randn(2, 3, 6, dtype=torch.float64)
    loss = (wanted.mean * of_means).sum() + (wanted.var * of_vars).sum()
    (of_weight,) = torch.autograd.grad(loss, kernels)
    nothing = torch.zeros(6, 6, dtype=torch.float64), torch.zeros(3, 6, dtype=torch.float64)
    grad_weight, weighted = branches.dense_backward(product, mean.detach(), *nothing, of_means, of_vars)
    torch.testing.assert_close(grad_weight, of_weight.flatten(2), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(weighted, branches.weight * of_vars[:2, :, None])


@pytest.mark.parametrize("kind", ["depthwise", "pointwise"])
def test_merging_and_its_gradients_are_those_of_the_composed_form(kind):
    branches = stack(6, 9, 9) if kind == "depthwise" else stack(6, 6, 1)
    means = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    variances = (torch.rand(3, 6, dtype=torch.float64) + 0.5).requires_grad_()
    gamma = branches.gamma.clone().requires_grad_()
    wanted = sum_branches(
        as_kernels(branches),
        BranchStatistics(means, variances),
        gamma=gamma,
        shift=branches.beta.sum(0),
        eps=EPS[:, None],
        identity=True,
    )
    settled = means.detach(), variances.detach()
    scale, kernel, bias = branches.merge(*settled, transposed=False)
    torch.testing.assert_close((kernel, bias), (wanted[0].flatten(1), wanted[1]), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(scale, branches.gamma * (settled[1] + EPS[:, None]).rsqrt())
    assert torch.equal(branches.merge(*settled, transposed=True)[1], kernel.T)

    grads = torch.randn_like(kernel), torch.randn_like(bias)
    exact = torch.autograd.grad(wanted, (gamma, means, variances), (grads[0].view_as(wanted[0]), grads[1]))
    torch.testing.assert_close(branches.merge_backward(*settled, *grads), exact, rtol=1e-10, atol=1e-10)


def test_gradients_in_float64_of_float32_branches_lose_nothing_by_a_large_mean():
    branches = stack(6, 9, 9, torch.float32)
    means, variances = torch.full((3, 6), 1e4), torch.ones(3, 6)
    bias = torch.randn(6, dtype=torch.float64)
    # The gradient of the kernel that cancels mean · grad_bias to all but 1e-3.
    weight = branches.weight[0].double()
    kernel = weight * ((1e4 * bias + 1e-3) / weight.square().sum(1))[:, None]
    (of_gamma, *_) = branches.merge_backward(means, variances, kernel, bias)
    wanted = 1e-3 / (1 + EPS[0].item()) ** 0.5
    assert torch.allclose(of_gamma[0], torch.full((6,), wanted), rtol=1e-4)
