import types

import pytest
import torch

from mobileone.functional.kernels import traced_availability  # noqa: F401  # loads the compiler, unpatched
from mobileone.functional.online import kernel_table
from mobileone.functional.online.kernel_table import (
    MOMENTS_KERNELS,
    UNIT_KERNELS,
    moments_kernel,
    online_pays,
    unit_kernel,
)
from mobileone.functional.window import Window
from mobileone.model.block import MobileOneBlock
from mobileone.model.branch_mode import set_branch_mode
from mobileone.variants import BlockSpec

ONE_DEPTHWISE = BlockSpec(8, 8, 3, groups=8)
ONE_POINTWISE = BlockSpec(8, 16, 1)
DEPTHWISE = BlockSpec(8, 8, 3, groups=8, num_conv_branches=3)
POINTWISE = BlockSpec(8, 16, 1, num_conv_branches=3)
STEM = BlockSpec(3, 8, 3, 2, use_identity=False)
GROUPED = BlockSpec(8, 8, 3, groups=4, num_conv_branches=2)
LARGE_KERNEL = BlockSpec(8, 8, 7, groups=8, num_conv_branches=2)


def image(channels, dtype=torch.float32, *, gradient=True):
    return torch.zeros(2, channels, 6, 6, dtype=dtype, requires_grad=gradient)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (ONE_DEPTHWISE, "normalized"),
        (ONE_POINTWISE, "normalized"),
        (DEPTHWISE, "merged_depthwise"),
        (POINTWISE, "merged_dense"),
        (GROUPED, "composed"),
        (LARGE_KERNEL, "composed"),
        (STEM, "composed"),  # whose input wants a gradient here
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_of_each_shape_on_a_cpu(spec, dtype, wanted):
    assert unit_kernel(spec, image(spec.in_channels, dtype)) == wanted


def test_a_stem_is_dense_where_its_image_wants_no_gradient():
    assert unit_kernel(STEM, image(3, gradient=False)) == "merged_dense"


@pytest.mark.parametrize("spec", [ONE_DEPTHWISE, DEPTHWISE, POINTWISE])
def test_without_c_kernels_or_a_dtype_of_theirs_plain_torch_takes_over(spec, monkeypatch):
    wanted = "normalized_torch" if spec.num_conv_branches == 1 else "composed"
    assert unit_kernel(spec, image(8, torch.bfloat16)) == wanted
    assert unit_kernel(spec, image(8).to("meta")) == wanted
    monkeypatch.setattr(kernel_table, "has_kernels", lambda *_: False)
    assert unit_kernel(spec, image(8)) == wanted


def test_parameters_of_another_dtype_and_frozen_units_are_composed():
    x = image(8)
    assert unit_kernel(DEPTHWISE, x, mixed=True) == unit_kernel(POINTWISE, x, frozen=True) == "composed"
    assert unit_kernel(ONE_DEPTHWISE, x, mixed=True, frozen=True) == "normalized"


def test_what_the_compiler_cannot_see_through_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for spec in (ONE_DEPTHWISE, DEPTHWISE, POINTWISE):
        assert UNIT_KERNELS[unit_kernel(spec, image(8))].traced
    assert moments_kernel(image(8), Window((3, 3)), groups=8) == "depthwise_c", "an operator of its own"


@pytest.mark.parametrize(
    ("window", "groups", "dtype", "wanted"),
    [
        (Window((3, 3)), 8, torch.float32, "depthwise_c"),
        (Window((5, 5)), 8, torch.float64, "depthwise_c"),
        (Window((3, 3)), 8, torch.bfloat16, "unfold"),
        (Window((7, 3)), 8, torch.float32, "unfold"),
        (Window(), 1, torch.float32, "gram"),
        (Window(), 1, torch.bfloat16, "gram"),
        (Window(stride=(2, 2)), 1, torch.float32, "unfold"),
        (Window((3, 3)), 2, torch.float32, "unfold"),
    ],
)
def test_the_moments_kernel_of_each_shape_on_a_cpu(window, groups, dtype, wanted):
    assert moments_kernel(image(8, dtype), window, groups=groups) == wanted


def on_a_gpu(shape, dtype, *, gradient=True):
    return types.SimpleNamespace(
        device=torch.device("cuda"), dtype=dtype, shape=shape, requires_grad=gradient, is_cuda=True
    )


SAME = Window((3, 3), padding=(1, 1))


@pytest.mark.parametrize("there", [True, False])
def test_a_gpu_takes_triton_where_it_is(monkeypatch, there):
    monkeypatch.setattr(kernel_table, "has_kernels", lambda needs, _: there and needs == ("triton",))
    x = on_a_gpu((2, 8, 6, 6), torch.bfloat16)
    assert moments_kernel(x, SAME, groups=8) == ("depthwise_triton" if there else "unfold")
    assert moments_kernel(x, Window((3, 3)), groups=8) == "unfold", "the kernels are for padding 1"
    x.dtype = torch.float64
    assert moments_kernel(x, SAME, groups=8) == "unfold"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_units_that_are_one_node_on_a_gpu(monkeypatch, dtype):
    monkeypatch.setattr(kernel_table, "has_kernels", lambda needs, _: needs == ("triton",))
    x, image = on_a_gpu((2, 8, 6, 6), dtype), on_a_gpu((2, 3, 6, 6), dtype, gradient=False)
    for spec, wanted in (
        (ONE_DEPTHWISE, "normalized_triton"),
        (ONE_POINTWISE, "normalized_triton"),
        (DEPTHWISE, "fused_depthwise"),
        (POINTWISE, "fused_dense"),
    ):
        assert unit_kernel(spec, x, mixed=True) == wanted
    assert unit_kernel(STEM, image, mixed=True) == "fused_dense"
    assert unit_kernel(DEPTHWISE, x, mixed=True, frozen=True) == "composed"
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(kernel_table, "kernels_are_there", lambda *_: True)
    assert {unit_kernel(spec, x) for spec in (DEPTHWISE, POINTWISE)} == {"composed"}
    assert moments_kernel(x, SAME, groups=8) == "depthwise_triton", "an operator of its own"


def test_what_has_no_triton_kernel_is_said_once_a_kind(monkeypatch):
    monkeypatch.setattr(kernel_table, "has_kernels", lambda needs, _: needs == ("triton",))
    kernel_table._warn_without_kernel.cache_clear()
    five = BlockSpec(8, 8, 5, groups=8, num_conv_branches=2)
    with pytest.warns(RuntimeWarning, match="no Triton kernel to train depthwise units online"):
        assert unit_kernel(five, on_a_gpu((2, 8, 6, 6), torch.float32)) == "composed"
    with pytest.warns(RuntimeWarning, match="no Triton kernel to train float64 units online"):
        assert unit_kernel(DEPTHWISE, on_a_gpu((2, 8, 6, 6), torch.float64)) == "composed"
    assert unit_kernel(five, on_a_gpu((2, 8, 9, 9), torch.float32)) == "composed", "without a warning"
    kernel_table._warn_without_kernel.cache_clear()


@pytest.mark.parametrize("table", [UNIT_KERNELS, MOMENTS_KERNELS])
def test_the_last_row_takes_everything_and_c_rows_say_what_they_need(table):
    rows = [*table.values()]
    assert rows[-1] == kernel_table.KernelRow()
    for row in rows:
        assert bool(row.needs) == (row.device is not None) == (row.dtypes is not None)


@pytest.mark.parametrize("spec", [ONE_DEPTHWISE, ONE_POINTWISE, DEPTHWISE, POINTWISE, GROUPED])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_output_has_the_layout_of_the_row(spec, layout):
    block, x = set_branch_mode(MobileOneBlock(spec), "online"), image(8).to(memory_format=layout)
    wanted = UNIT_KERNELS[unit_kernel(spec, x)].layout or layout
    assert block(x).is_contiguous(memory_format=wanted)


def test_online_pays_where_it_was_measured_to(monkeypatch):
    x = lambda *shape: torch.zeros(shape)  # noqa: E731
    wide, one = BlockSpec(256, 256, 1, num_conv_branches=4), BlockSpec(96, 96, 1)
    depthwise = BlockSpec(64, 64, 3, groups=64, num_conv_branches=4)
    only_avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
    assert 1 << (12 if only_avx2 else 17) == kernel_table.MIN_ELEMENTS_SEVERAL
    assert online_pays(wide, x(16, 256, 10, 10))
    assert not online_pays(one, x(16, 96, 40, 40)), "there is next to nothing to save"
    assert not online_pays(wide, x(16, 256, 1, 1)), "a Gram product of 256 channels over 16 pixels is a loss"
    assert online_pays(depthwise, x(16, 64, 20, 20))
    for least, pays in ((1 << 17, False), (1 << 12, True)):
        monkeypatch.setattr(kernel_table, "MIN_ELEMENTS_SEVERAL", least)
        assert online_pays(depthwise, x(16, 64, 4, 4)) is pays, "too small for its calls with AVX-512 alone"
        assert not online_pays(depthwise, x(1, 64, 4, 4)), "too small anywhere"
    assert not online_pays(depthwise, x(16, 64, 20, 20).bfloat16()), "not measured"
    assert not online_pays(wide, torch.zeros(16, 256, 10, 10, device="meta")), "not measured"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not online_pays(depthwise, x(16, 64, 20, 20)), "not measured"


def test_under_torch_compile_a_unit_with_one_branch_is_the_compilers(monkeypatch):
    x = torch.zeros(16, 64, 20, 20)
    one, four = (BlockSpec(64, 64, 3, groups=64, num_conv_branches=k) for k in (1, 4))
    assert online_pays(one, x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not online_pays(one, x)
    assert online_pays(four, x)
