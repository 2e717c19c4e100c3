"""The GPU's node in Triton's interpreter: whole units, through the block, against the branches in float64."""

import pytest
import torch

from mobileone.functional.online.fused import DensePasses, DepthwisePasses, OfOutput, fused_unit
from mobileone.functional.online.moments import reference_moments
from mobileone.functional.window import Window

UNITS = """
import copy
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from mobileone.functional.kernels import affine_triton
from mobileone.functional.online import kernel_table, normalized
from mobileone.model import online_forward
from mobileone.model.block import MobileOneBlock
from mobileone.model.branch_mode import set_branch_mode
from mobileone.variants import BlockSpec

KERNELS = {
    "one_branch": "normalized_triton",
    "common_depthwise": "fused_depthwise",
    "dense": "fused_dense",
}
online_forward.unit_kernel = lambda spec, x, **_: KERNELS[kernel_table.unit_shape(spec, x)]
normalized.affine_kernels = lambda device: normalized.AffineKernels(
    affine_triton.TritonAffineOfTwo, affine_triton.channel_moments
)


class Waiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.partition("::")[2]
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "lift_fresh"), name
        return func(*args, **(kwargs or {}))


SPECS = {
    "depthwise": BlockSpec(5, 5, 3, groups=5, num_conv_branches=2),
    "stride 2": BlockSpec(5, 5, 3, 2, groups=5, num_conv_branches=2, use_identity=False),
    "pointwise": BlockSpec(6, 6, 1, num_conv_branches=2),
    "stem": BlockSpec(3, 6, 3, 2, num_conv_branches=2, use_identity=False),
    "one depthwise": BlockSpec(5, 5, 3, groups=5),
    "one pointwise": BlockSpec(6, 6, 1),
    "one at stride 2": BlockSpec(5, 5, 3, 2, groups=5, use_identity=False),
}
torch.manual_seed(0)
for name, dtype in CASES:
    dtype = getattr(torch, dtype)
    tolerance = 2e-4 if dtype == torch.float32 else 3e-2
    block = MobileOneBlock(SPECS[name])
    for norm in block.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias)
    exact = set_branch_mode(copy.deepcopy(block).double(), "branches").train()
    set_branch_mode(block, "online").train()
    x = torch.randn(3, block.spec.in_channels, 5, 6).to(dtype)
    x, wide = x.requires_grad_(name != "stem"), x.detach().double().requires_grad_(name != "stem")
    out, wanted = block(x), exact(wide)
    assert out.dtype == dtype
    error = (out - wanted).abs().max() / wanted.abs().max()
    assert error < tolerance, (name, dtype, error)
    grad = torch.randn(wanted.shape).double() * (wanted > 0.05)
    (out.double() * grad).sum().backward()
    (wanted * grad).sum().backward()
    pairs = [(p.grad, q.grad) for p, q in zip(block.parameters(), exact.parameters(), strict=True)]
    pairs += [(x.grad, wide.grad)] if name != "stem" else []
    pairs += list(zip(block.buffers(), exact.buffers(), strict=True))
    largest = max(wanted.abs().max() for _, wanted in pairs)
    for got, wanted in pairs:
        assert (got - wanted).abs().max() < tolerance * largest, (name, dtype, got.shape)
    with Waiting():  # for the device, were this on one
        block(x).sum().backward()
print("all units")
"""


@pytest.mark.parametrize(
    "name", [pytest.param("depthwise", marks=pytest.mark.slow), "pointwise", "one depthwise"]
)
def test_a_unit_as_one_triton_node_is_its_branches(interpreted, name):
    assert interpreted(UNITS.replace("CASES", str([(name, "float32")]))) == "all units"


@pytest.mark.slow
def test_every_unit_as_one_triton_node_in_float32_and_bfloat16(interpreted):
    names = (
        "depthwise",
        "stride 2",
        "pointwise",
        "stem",
        "one depthwise",
        "one pointwise",
        "one at stride 2",
    )
    cases = [(name, dtype) for name in names for dtype in ("float32", "bfloat16")]
    assert interpreted(UNITS.replace("CASES", str(cases))) == "all units"


class WrittenOut:
    """`UnitPasses` of a pointwise convolution in plain torch."""

    def moments(self, x, window):
        found = reference_moments(x, window)
        return found.mean[0], found.mean, found.cov

    def convolution(self, patches, kernel, bias, *, relu):
        out = torch.nn.functional.conv2d(patches.x, kernel, bias)
        return out.relu() if relu else out

    def kernel_gradient(self, patches, kernel, given):
        grad = given.grad if given.out is None else given.grad * (given.out > 0)
        of_kernel = torch.einsum("nohw,nihw->oi", grad, patches.x).view_as(kernel)
        return of_kernel, grad.sum((0, 2, 3)), OfOutput(grad, None)

    def input_gradient(self, patches, kernel, slopes, given):
        slope, offset = slopes
        centred = patches.x - patches.mean.view(1, -1, 1, 1)
        return torch.einsum("nohw,oi->nihw", given.grad, kernel[:, :, 0, 0]) + (
            torch.einsum("nihw,ij->njhw", centred, slope[0]) + offset.view(1, -1, 1, 1)
        )


@pytest.mark.parametrize("relu", [True, False])
def test_the_node_differentiates_through_moments_and_parameters(relu):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    frozen = torch.randn(4, dtype=torch.float64)

    def find(moments, parameters):
        rows = parameters[0].flatten(1)
        scale = ((rows @ moments.cov[0]) * rows).sum(1).add(0.1).rsqrt()
        kernel = parameters[0] * scale.view(-1, 1, 1, 1)
        return kernel, parameters[1] - kernel.flatten(1) @ moments.mean[0]

    def check(x, weight):
        return fused_unit(x, Window(), find, (weight, frozen), WrittenOut(), relu=relu)

    assert torch.autograd.gradcheck(check, (x, weight))


def test_an_input_without_a_gradient_gets_none():
    x, weight = torch.randn(2, 3, 4, 5), torch.randn(4, 3, 1, 1, requires_grad=True)
    find = lambda moments, parameters: (parameters[0], moments.mean[0].sum().expand(4))  # noqa: E731
    fused_unit(x, Window(), find, (weight,), WrittenOut(), relu=True).sum().backward()
    assert weight.grad.isfinite().all()


def test_the_passes_have_what_the_node_asks_for():
    for passes in (DepthwisePasses, DensePasses):
        assert all(hasattr(passes, name) for name in vars(WrittenOut) if not name.startswith("_"))
