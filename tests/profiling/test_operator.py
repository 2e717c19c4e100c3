"""Operators and their operands as data."""

import pytest

from mobileone.profiling.operator import Operand, Operator, stage_of


def test_stages():
    names = ["stem.act", "stages.2.10.attn.fc1", "layer2.0.conv1", "encoder.layers.3", "7", "(model)"]
    assert [stage_of(name) for name in names] == ["stem", "stages.2", "layer2", "encoder", "7", "(model)"]


@pytest.mark.parametrize(
    ("operand", "numel", "size_bytes"),
    [
        (Operand((2, 3)), 6, 24),
        (Operand((2, 3), "float16"), 6, 12),
        (Operand((2, 3), "int8"), 6, 6),
        (Operand((4,), "int64"), 4, 16),  # shapes and indices, which Caffe2 keeps as int32
        (Operand(()), 1, 4),
        (Operand((0, 3)), 0, 0),
    ],
)
def test_sizes(operand, numel, size_bytes):
    assert (operand.numel, operand.size_bytes) == (numel, size_bytes)


def test_a_global_pool_leaves_one_value_a_channel():
    def pool(kind, shape):
        return Operator("p", kind, "", (Operand((1, 8, 7, 7)),), (Operand(shape),))

    assert pool("AveragePool", (1, 8, 1, 1)).is_global_pool
    assert pool("AveragePool", (1, 8)).is_global_pool
    assert not pool("AveragePool", (1, 8, 2, 2)).is_global_pool
    assert not pool("MaxPool", (1, 8, 1, 1)).is_global_pool
