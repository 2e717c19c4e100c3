"""A gradient that is no constant says so where it is differentiated."""

import pytest
import torch
from torch.autograd.function import once_differentiable

from mobileone.functional.first_order import first_order


def squares(decorate):
    """x², with a backward pass that is marked."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, unused):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @decorate
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 2 * x * grad, None

    return Square.apply


def penalty(square):
    x = torch.tensor([3.0], requires_grad=True)
    w = torch.tensor([5.0], requires_grad=True)
    (grad,) = torch.autograd.grad(square(x, None).sum(), x, create_graph=True)
    (grad * w).sum().backward()
    return x.grad, w.grad


def test_a_gradient_penalty_is_refused_where_torchs_own_mark_loses_it():
    assert penalty(squares(once_differentiable)) == (None, torch.tensor([6.0]))
    with pytest.raises(RuntimeError, match=r"second derivatives .* do not exist"):
        penalty(squares(first_order))


def test_first_derivatives_are_plain_tensors():
    x = torch.tensor([3.0], requires_grad=True)
    squares(first_order)(x, None).sum().backward()
    assert torch.equal(x.grad, torch.tensor([6.0]))
    assert not x.grad.requires_grad
