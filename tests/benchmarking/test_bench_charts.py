"""Bars, and accuracy against latency, of a page."""

import re

import pytest

from mobileone.benchmarking.bench_charts import latency_bars, scatter

from .conftest import ROWS, row


def test_bars_are_as_long_as_medians():
    chart = latency_bars(ROWS)
    found = [float(share) for share in re.findall(r"--share:([0-9.]+)", chart)]
    assert found == pytest.approx([1 / 9, 2 / 9, 1], abs=1e-4)
    assert chart.count('class="bar other"') == 1, "the baseline"
    assert "bad" not in chart


def test_a_mark_a_candidate_and_the_front_apart():
    drawn = scatter(ROWS, "top-1 %")
    assert (drawn.count('class="dot arithmetic"'), drawn.count('class="dot memory"')) == (1, 2)
    assert "onnx fp32, 1 thread: 1.000 ms, 80.00" in drawn
    assert drawn.count('class="roof"') == 1
    across = [float(x) for x in re.findall(r'cx="([0-9.]+)"', drawn)]
    assert across == sorted(across), "slower is further to the right"


def test_the_front_goes_in_steps():
    better = row("b", 3.0, accuracy=90.0)
    (points,) = re.findall(r'class="roof" points="([^"]*)"', scatter([*ROWS[:2], better], "top-1 %"))
    corners = [tuple(map(float, pair.split(","))) for pair in points.split()]
    assert len(corners) == 3
    assert corners[1] == (corners[2][0], corners[0][1])


def test_without_accuracies_there_is_no_picture():
    assert scatter([row("onnx")], "top-1 %") == ""
