import pytest
import torch

from mobileone.functional.kernels import affine
from mobileone.functional.memory_layout import channels_last


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_channel_moments(layout):
    x = (torch.randn(3, 70, 9, 11) * 0.1 + 1e3).contiguous(memory_format=layout)
    mean, var = affine.channel_moments(x.contiguous(memory_format=torch.channels_last))
    exact = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    assert torch.allclose(var.double(), exact[0], rtol=1e-5)
    assert torch.allclose(mean.double(), exact[1], rtol=1e-7)


@pytest.mark.parametrize("relu", [True, False])
def test_the_map_of_two_and_its_gradients(relu):
    def tensor(*size):
        return torch.randn(*size, dtype=torch.float64).requires_grad_()

    y, x = (channels_last(tensor(3, 70, 4, 5)).detach().requires_grad_() for _ in range(2))
    m, a, k, c, b = (tensor(70) for _ in range(5))
    column = lambda value: value.view(1, -1, 1, 1)  # noqa: E731
    wanted = column(a) * (y - column(m)) + column(c) * (x - column(k)) + column(b)
    wanted = wanted.relu() if relu else wanted
    plain = [value.detach() for value in (y, m, a, b, x, k, c)]
    operands = affine.AffineOfTwo(*plain, relu=relu)
    out = operands.forward()
    torch.testing.assert_close(out, wanted, rtol=1e-12, atol=1e-12)

    grad = channels_last(torch.randn(out.shape, dtype=torch.float64))
    of_b, of_a, of_c, of_y, of_x = torch.autograd.grad(wanted, (b, a, c, y, x), grad)
    torch.testing.assert_close(
        operands.sums(grad, out), torch.stack([of_b, of_a, of_c]), rtol=1e-11, atol=1e-11
    )
    slope, offset = torch.randn(2, 70, dtype=torch.float64)
    extra_y = column(slope) * (plain[0] - column(plain[1])) + column(offset)
    nothing = torch.zeros(70, dtype=torch.float64)
    both = operands.backward_both(grad, out, (slope, offset), (nothing, nothing))
    torch.testing.assert_close(both, (of_y + extra_y, of_x), rtol=1e-12, atol=1e-12)
    alone = operands.backward(grad, out, plain[0], plain[1], plain[2], (slope, offset))
    torch.testing.assert_close(alone, of_y + extra_y, rtol=1e-12, atol=1e-12)
    onto = operands.backward(
        grad, out, plain[0], plain[1], plain[2], (slope, offset), onto=torch.ones_like(out)
    )
    torch.testing.assert_close(onto, alone + 1)


@pytest.mark.parametrize("relu", [True, False])
def test_the_gradient_behind_a_relu(relu):
    out = channels_last(torch.randn(2, 70, 5, 6, dtype=torch.float64)).relu_()
    grad = channels_last(torch.randn(out.shape, dtype=torch.float64))
    got, sums = affine.behind_relu(grad, out if relu else None)
    wanted = grad * (out > 0) if relu else grad
    assert torch.equal(got, wanted)
    torch.testing.assert_close(sums, wanted.sum((0, 2, 3)))
