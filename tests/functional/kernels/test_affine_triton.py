"""In Triton's interpreter against affine.c in float64, and compiled for three kinds of GPU."""

import pytest

CASES = """
import torch
from mobileone.functional.kernels import affine, affine_triton

torch.manual_seed(0)
for shape, dtype, two, relu in {cases}:
    dtype, c = getattr(torch, dtype), shape[1]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    act = lambda: (torch.randn(shape) + 1).to(dtype).contiguous(memory_format=torch.channels_last)
    y, x, grad, onto = act(), act(), act(), act()
    vectors = [torch.randn(c) for _ in range(9)]

    def results(kind, to):
        m, a, b, k, f, *slopes = (v.to(torch.float64 if to else torch.float32) for v in vectors)
        cast = lambda t: t.to(torch.float64 if to else dtype, memory_format=torch.channels_last, copy=True)
        second = dict(x=cast(x), mean_x=k, c=f) if two else {{}}
        operands = kind(cast(y), m, a, b, relu=relu, **second)
        out = operands.forward()
        behind = out.to(out.dtype)
        found = [out, operands.sums(cast(grad), behind)[: 3 if two else 2]]
        found.append(operands.backward(cast(grad), behind, cast(y), m, a, tuple(slopes[:2])))
        found.append(operands.backward(cast(grad), behind, cast(y), m, a, tuple(slopes[:2]), onto=cast(onto)))
        if two:
            found += operands.backward_both(cast(grad), behind, tuple(slopes[:2]), tuple(slopes[2:]))
        return found

    for got, wanted in zip(
        results(affine_triton.TritonAffineOfTwo, False), results(affine.AffineOfTwo, True), strict=True
    ):
        assert (got - wanted).abs().max() < tolerance * wanted.abs().max(), (shape, dtype, got.shape)
    mean, var = affine_triton.channel_moments(y)
    wanted = affine.channel_moments(y.double().contiguous(memory_format=torch.channels_last))
    assert (mean - wanted[0]).abs().max() < 1e-5 and (var - wanted[1]).abs().max() < 1e-4
    bias = torch.randn(c)
    out = affine_triton.add_bias_relu_(y.clone(), bias, relu=True)
    wanted = (y.double() + bias.view(1, -1, 1, 1)).relu()
    assert (out - wanted).abs().max() < tolerance * wanted.abs().max()
    g, sums = affine_triton.behind_relu(grad, out)
    assert torch.equal(g, torch.where(out > 0, grad, 0))
    assert (sums - g.double().sum((0, 2, 3))).abs().max() < 1e-4
    same, sums = affine_triton.behind_relu(grad, None)
    assert same is grad and (sums - grad.double().sum((0, 2, 3))).abs().max() < 1e-4
print("all cases")
"""
SMALL = [((2, 3, 2, 5), "float32", True, True), ((1, 5, 3, 3), "bfloat16", False, True)]
MORE = [((2, 33, 5, 5), "float16", True, False), ((3, 16, 7, 9), "float32", True, True)]


def test_triton_affine_maps_are_those_of_c(interpreted):
    assert interpreted(CASES.format(cases=SMALL)) == "all cases"


@pytest.mark.slow
def test_triton_affine_maps_at_odd_sizes(interpreted):
    assert interpreted(CASES.format(cases=MORE)) == "all cases"


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [(90, "bf16"), *(pytest.param(a, d, marks=pytest.mark.slow) for a in (80, 86) for d in ("bf16", "fp32"))],
)
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("_affine_kernel", {"two": True, "relu": True}),
        ("_sums_kernel", {"two": True, "relu": True}),
        ("_moments_kernel", {}),
        ("_backward_kernel", {"two": True, "relu": True, "add": False}),
        ("_behind_relu_kernel", {}),
    ],
)
def test_triton_affine_compiles_without_spills(compile_for, arch, dtype, name, flags):
    from mobileone.functional.kernels import affine_triton as kernels

    blocks = {"block_rows": kernels.ROWS, "block_channels": 64}
    made = compile_for(getattr(kernels, name), arch, dtype, warps=4, **blocks, **flags)
    assert made.stack_bytes == 0
    assert made.registers <= 128
    assert made.shared_bytes <= 1024
    assert made.widest_load == 128
