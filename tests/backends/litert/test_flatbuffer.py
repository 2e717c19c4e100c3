"""Graphs that are put together by hand run in LiteRT."""

import numpy as np
import pytest

from mobileone.backends.litert.flatbuffer import FlatBuffer
from mobileone.backends.quantized_network import Int8Encoding

pytestmark = pytest.mark.usefixtures("execute")  # skips without LiteRT


def logistic(**options):
    graph = FlatBuffer(**options)
    x = graph.tensor("x", (1, 3), np.float32)
    y = graph.operator("LOGISTIC", [x], graph.tensor("y", (1, 3), np.float32))
    return graph.pack([x], [y])


@pytest.mark.parametrize(("dynamic", "batch"), [(False, 1), (True, 4)])
def test_a_graph_of_one_operator(execute, dynamic, batch):
    x = np.random.default_rng(0).normal(size=(batch, 3)).astype(np.float32)
    np.testing.assert_allclose(execute(logistic(dynamic_batch=dynamic), x), 1 / (1 + np.exp(-x)), atol=1e-6)


def test_a_fixed_batch_stays_fixed(execute):
    with pytest.raises(RuntimeError, match="only allows mutating unknown dimensions"):
        execute(logistic(), np.zeros((4, 3), np.float32))


def test_integers_are_read_by_their_encoding(execute):
    graph = FlatBuffer()
    x = graph.tensor("x", (1, 3), np.int8, Int8Encoding((0.5,), -128))
    y = graph.tensor("y", (1, 3), np.float32)
    graph.operator("DEQUANTIZE", [x], y, options="DequantizeOptions")
    got = execute(graph.pack([x], [y]), np.array([[-128, -126, 127]], np.int8))
    assert got.tolist() == [[0.0, 1.0, 127.5]]


def test_an_option_that_an_operator_does_not_have_is_noticed():
    graph = FlatBuffer()
    x = graph.tensor("x", (1, 2, 2, 1), np.float32)
    with pytest.raises(AssertionError, match="PadOptions has no colour"):
        graph.operator("PAD", [x], x, options="PadOptions", colour=1)
