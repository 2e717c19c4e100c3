import pytest
import torch
from torch.nn import functional as F

from mobileone.functional.online.branch_statistics import BranchStatistics
from mobileone.functional.online.branch_sum import sum_branches


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_the_kernel_computes_the_sum_of_the_branches_and_so_do_gradients(groups):
    real = {"dtype": torch.float64, "requires_grad": True}
    weight = torch.randn(2, 6, 6 // groups, 3, 3, **real)
    mean, gamma, shift = torch.randn(3, 6, **real), torch.randn(3, 6, **real), torch.randn(6, **real)
    var = (torch.rand(3, 6, dtype=torch.float64) + 0.5).requires_grad_()
    eps = torch.tensor([[1e-3], [1e-2], [0.1]], dtype=torch.float64)
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    kernel, bias = sum_branches(
        weight, BranchStatistics(mean, var), gamma=gamma, shift=shift, eps=eps, identity=True
    )
    got = F.conv2d(x, kernel, bias, padding=1, groups=groups)
    outputs = torch.stack(
        [*(F.conv2d(x, w, padding=1, groups=groups) for w in weight), x], 2
    )  # (N, C, B, H, W)
    column = lambda value: value.T[..., None, None]  # noqa: E731
    normed = (outputs - column(mean)) * column(gamma * (var + eps).rsqrt())
    wanted = normed.sum(2) + shift.view(1, -1, 1, 1)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
    leaves, factor = (weight, mean, var, gamma, shift), torch.randn(wanted.shape, dtype=torch.float64)
    for a, b in zip(
        *(torch.autograd.grad((value * factor).sum(), leaves) for value in (got, wanted)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
