import pytest
import torch
from torch.nn import functional as F

from mobileone.functional.fold import embed_pointwise, fold_batch_norm, identity_pointwise


@pytest.mark.parametrize("affine", [True, False])
def test_a_folded_batch_norm_is_convolution_then_batch_norm(affine):
    kernel, x = torch.randn(4, 3, 3, 3).double(), torch.randn(2, 3, 6, 6).double()
    mean, var = torch.randn(4).double(), torch.rand(4).double() + 0.5
    gamma, beta = (torch.randn(4).double(), torch.randn(4).double()) if affine else (None, None)
    folded, bias = fold_batch_norm(kernel, mean=mean, var=var, gamma=gamma, beta=beta, eps=1e-3)
    wanted = F.batch_norm(F.conv2d(x, kernel), mean, var, gamma, beta, eps=1e-3)
    assert torch.allclose(F.conv2d(x, folded, bias), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 3), (1, 7)])
def test_an_embedded_pointwise_kernel_is_the_pointwise_convolution(size):
    kernel, x = torch.randn(4, 3, 1, 1), torch.randn(2, 3, 8, 8)
    padding = (size[0] // 2, size[1] // 2)
    got = F.conv2d(x, embed_pointwise(kernel, size), padding=padding)
    assert torch.allclose(got, F.conv2d(x, kernel), atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_the_identity_kernel_copies_its_input(groups):
    x = torch.randn(2, 6, 4, 4)
    assert torch.equal(F.conv2d(x, identity_pointwise(6, groups, like=x), groups=groups), x)
