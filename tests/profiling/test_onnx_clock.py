"""ONNX Runtime as the clock: what it executes, and under which names."""

import pytest
import torch
from torch import Tensor, nn

import mobileone
from mobileone.errors import ProfileError
from mobileone.profiling import onnx_clock
from mobileone.profiling.cost import network_cost
from mobileone.profiling.profile_report import profile_report

from .conftest import FORMS, NEEDS_PROFILE, SMALL, X, conv_file, kinds, onnx_file

onnx = pytest.importorskip("onnx", reason=NEEDS_PROFILE)
pytest.importorskip("onnxruntime", reason=NEEDS_PROFILE)


@pytest.mark.parametrize("form", FORMS)
def test_onnx_runtime_executes_the_network_as_it_is_written(models, onnx_profiles, form):
    model, profile = models[form], onnx_profiles[form]
    cost = network_cost(SMALL, input_size=32, form=form, num_classes=10)
    sums = {
        name: sum(getattr(row, name) for row in profile.rows() if row.in_memory_report)
        for name in ("bytes_read", "bytes_written", "parameter_bytes")
    }
    assert (profile.macs, profile.count, profile.num_parameters) == (cost.macs, cost.flops, cost.params)
    assert sums == {name: getattr(cost, name) for name in sums}
    found = kinds(profile)
    assert found["Conv"] == sum(isinstance(m, nn.Conv2d) for m in model.modules())
    assert found.get("SpatialBN", 0) == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    for name in ("Shape", "Gather", "ExpandDims", "Concat", "Reshape", "FC"):
        assert found[name] == 1
    assert all(row.time_ms is not None and row.time_ms >= 0 for row in profile.rows())
    assert len(profile.latencies_ms) == len(profile.operator_sums_ms) == 3
    assert min(profile.latencies_ms) > 0


def test_optimized_merges_operators_and_keeps_their_layers(models, onnx_profiles):
    plain = onnx_profiles["inference"]
    merged = mobileone.profile(models["inference"], X, runs=2, threads=1, optimized=True)
    assert len(merged.operators) < len(plain.operators)
    assert "Concat" not in kinds(merged), "constants were folded"
    assert kinds(plain)["Relu"] > kinds(merged).get("Relu", 0)
    layers = {row.name for row in merged.rows("layer")}
    assert {row.name for row in plain.rows("layer") if "Conv" in row.kinds} <= layers
    assert merged.protocol.optimized
    assert "graph optimizations on" in profile_report(merged)


class Product(nn.Module):
    """A matmul whose first factor is permuted."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.permute(self.order) @ y


@pytest.mark.parametrize(
    ("first", "order", "second", "macs"),
    [
        ((1, 64, 8), (0, 2, 1), (64, 16), 64 * 8 * 16),
        ((2, 1, 16, 4), (0, 1, 3, 2), (3, 16, 5), 2 * 3 * 16 * 4 * 5),
        ((4, 8, 16), (1, 0, 2), (8, 16, 5), 8 * 4 * 16 * 5),
        ((4, 8, 16), (1, 2, 0), (8, 4, 5), 8 * 16 * 4 * 5),
    ],
)
def test_a_product_that_was_merged_with_a_transpose_is_counted_as_before(first, order, second, macs):
    profiles = [
        mobileone.profile(
            Product(order).eval(),
            (torch.ones(first), torch.ones(second)),
            optimized=optimized,
            runs=1,
            threads=1,
            convention="macs",
        )
        for optimized in (False, True)
    ]
    assert [profile.macs for profile in profiles] == [macs, macs]
    assert kinds(profiles[1]) == {"FusedMatMul": 1}


def test_a_file_with_an_operator_nobody_has_is_refused(tmp_path):
    node = onnx.helper.make_node("Sorcery", ["x"], ["y"], domain="my.domain")
    path = onnx_file(tmp_path / "net.onnx", [node], domain="my.domain")
    with pytest.raises(ProfileError, match=r"cannot execute this model: .*Sorcery"):
        mobileone.profile(path, runs=1)


def test_the_profile_must_hold_all_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_clock, "MAX_EVENTS", 40)
    path = conv_file(tmp_path / "net.onnx")
    with pytest.raises(ProfileError, match="take fewer runs"):
        mobileone.profile(path, runs=100)
