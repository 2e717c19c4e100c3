"""Counting rules, against an independent counter and against the figures others print."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mobileone.profiling.conventions import count, count_macs, traffic
from mobileone.profiling.onnx_clock import OnnxClock
from mobileone.profiling.onnx_model import export_module
from mobileone.profiling.operator import Operand, Operator
from mobileone.profiling.trace import trace

from .conftest import NEEDS_PROFILE, profile_of


def counted_by_torch(model, x):
    """FLOP by torch's counter, made to see inside attention, of whose CPU kernels it counts none."""
    counter = FlopCounterMode(display=False)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops()


def test_traced_macs_equal_torchs_counter(architecture):
    x = torch.randn(2, 3, 32, 32)
    operators = trace(architecture, (x,))
    assert None not in [count_macs(op) for op in operators]
    assert 2 * sum(count_macs(op) for op in operators) == counted_by_torch(architecture, x) > 0


def test_exported_macs_equal_torchs_counter(architecture):
    pytest.importorskip("onnxruntime", reason=NEEDS_PROFILE)
    x = torch.randn(2, 3, 32, 32)
    clock = OnnxClock(export_module(architecture, (x,)), threads=1)
    clock.measure(1)
    operators = clock.finish().operators
    assert None not in [count_macs(op) for op in operators]
    assert 2 * sum(count_macs(op) for op in operators) == counted_by_torch(architecture, x)


def test_the_three_figures_that_are_all_the_flops_of_s0():
    totals = {c: profile_of("mobileone_s0", convention=c).count for c in ("caffe2", "fvcore", "macs")}
    assert totals == {"caffe2": 550_221_800, "fvcore": 275_160_576, "macs": 275_110_400}
    rows = {row.name: row for row in profile_of("mobileone_s0", convention="macs").rows()}
    assert rows["Conv"].count == 274_086_400
    assert rows["FC"].count == 1_024_000


def operator(kind, inputs, output, parameters=()):
    tensors = [Operand(shape, is_parameter=i in parameters) for i, shape in enumerate(inputs)]
    return Operator("op", kind, "", tuple(tensors), (Operand(output),))


@pytest.mark.parametrize(
    ("op", "caffe2", "fvcore", "macs"),
    [
        (operator("FC", [(2, 8), (5, 8), (5,)], (2, 5), (1, 2)), 170, 80, 80),
        (operator("FC", [(2, 8), (5, 8)], (2, 5), (1,)), 160, 80, 80),
        (operator("MatMul", [(2, 3, 4, 8), (2, 3, 8, 5)], (2, 3, 4, 5)), 1920, 960, 960),
        (operator("ConvTranspose", [(1, 8, 4, 4), (8, 3, 2, 2)], (1, 6, 8, 8), (1,)), None, 1536, 1536),
        (operator("Mul", [(2, 4, 3, 3), (2, 4, 1, 1)], (2, 4, 3, 3)), 72, None, 0),
        (operator("SpatialBN", [(2, 4, 3, 3), *[(4,)] * 4], (2, 4, 3, 3), (1, 2, 3, 4)), 288, 144, 0),
        (operator("Relu", [(7,)], (7,)), 0, None, 0),
        (operator("AveragePool", [(1, 4, 5, 5)], (1, 4, 1, 1)), None, 100, 0),
        (operator("AveragePool", [(1, 4, 6, 6)], (1, 4, 3, 3)), None, None, 0),
        (operator("Attention", [(1, 2, 5, 4), (1, 2, 6, 4), (1, 2, 6, 3)], (1, 2, 5, 3)), None, 420, 420),
        (operator("LSTM", [(7,)], (7,)), None, None, None),
    ],
)
def test_rules(op, caffe2, fvcore, macs):
    assert [count(op, convention) for convention in ("caffe2", "fvcore", "macs")] == [caffe2, fvcore, macs]


def test_bytes():
    conv = operator("Conv", [(1, 3, 8, 8), (4, 3, 3, 3), (4,)], (1, 4, 8, 8), (1, 2))
    assert (traffic(conv).read, traffic(conv).written) == (4 * (192 + 108 + 4), 4 * 256)
    assert traffic(conv).parameters == 4 * 108, "Caffe2 leaves a convolution's bias out"
    norm = operator("SpatialBN", [(1, 4, 2, 2), *[(4,)] * 4], (1, 4, 2, 2), (1, 2, 3, 4))
    assert (traffic(norm).read, traffic(norm).parameters) == (4 * 32, 4 * 8)
    assert traffic(operator("Reshape", [(4, 4), (1,)], (16,))).total == 0
    lookup = operator("Gather", [(1000, 8), (5,)], (5, 8), (0,))
    assert traffic(lookup).read == 4 * (40 + 5), "only the rows that are looked up"
    half = Operator("op", "Relu", "", (Operand((6,), "float16"),), (Operand((6,), "float16"),))
    assert traffic(half).total == 24
