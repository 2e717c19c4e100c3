"""The picture of made-up results."""

import numpy as np
import pytest

from mobileone.benchmarking import bench_plot
from mobileone.benchmarking.bench_plot import write_plot

from .conftest import ROWS, result, row

pytest.importorskip("matplotlib", reason="needs mobileone[train]")


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Writes the picture of a result; its panels."""
    figures = []
    real = bench_plot.save_figure
    monkeypatch.setattr(
        bench_plot, "save_figure", lambda figure, path: figures.append(figure) or real(figure, path)
    )

    def draw(found):
        path = write_plot(found, tmp_path / "new" / "plot.png")
        assert path.read_bytes().startswith(b"\x89PNG")
        return figures[-1].axes

    return draw


def test_accuracy_against_latency_names_the_front_alone(drawn):
    (axes,) = drawn(result(*ROWS, evaluated=True))
    points = sorted(tuple(place) for mark in axes.collections for place in mark.get_offsets())
    np.testing.assert_allclose(points, [(1.0, 80.0), (2.0, 79.5), (9.0, 80.0)])
    assert [text.get_text() for text in axes.texts] == ["onnx fp32, 1 thread"], "it beats the others in both"
    assert axes.get_title() == "net, batch 1"
    assert axes.get_ylabel() == "top-1 %"


def test_without_accuracy_a_panel_of_bars_for_each_batch_size(drawn):
    first, second = drawn(result(row("onnx", 1.0), row("litert", 2.0), row("onnx", 30.0, batch=64)))
    assert [bar.get_width() for bar in first.patches] == pytest.approx([1.0, 2.0])
    assert [bar.get_width() for bar in second.patches] == pytest.approx([30.0])
    assert [axes.get_title() for axes in (first, second)] == ["net, batch 1", "net, batch 64"]
