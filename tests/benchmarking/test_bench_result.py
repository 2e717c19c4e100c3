"""Results as data."""

import json
from dataclasses import replace

import pytest

from mobileone.benchmarking.bench_result import Accuracy, group

from .conftest import ROWS, result, row


def test_json_has_every_run():
    found = json.loads(json.dumps(result(*ROWS, evaluated=True).to_dict(), allow_nan=False))
    assert found["schema"] == "mobileone.bench/1"
    assert len(found["rows"][0]["latency"]["rounds_ms"]) == 21
    assert found["rows"][0]["of_floor"] == pytest.approx(2.0)
    assert found["rows"][3]["latency"] is None
    assert found["recommendations"][0]["use"] == "onnx fp32, 1 thread"


def test_a_row_is_named_by_what_runs():
    own = row("onnx", threads=2)
    assert (own.runner, own.name) == ("onnx", "onnx fp32, 2 threads")
    assert replace(own, artifact="/deep/mine.onnx").name == "onnx (mine.onnx) fp32, 2 threads"


def test_the_floor_needs_a_latency_and_a_bound():
    assert row("onnx", 1.0).of_floor == pytest.approx(2.0)
    assert row("onnx", floor=None).of_floor is None
    assert row("onnx", latency=None).of_floor is None


def test_the_score_is_top1_where_there_are_labels():
    assert Accuracy(num_images=9, top1=70.0, agreement=99.0).score == 70.0
    assert Accuracy(num_images=9, top1=None, agreement=99.0).score == 99.0
    assert Accuracy(num_images=9, top1=None, agreement=None).score is None


def test_candidates_of_one_network_and_batch_size_compete():
    a, b, c = row("a"), row("b", batch=8), row("c")
    d = row("d", network="other")
    assert group([a, b, c, d]) == [("net", 1, [a, c]), ("net", 8, [b]), ("other", 1, [d])]
    assert result(a, b).groups() == [("net", 1, [a]), ("net", 8, [b])]


def test_what_is_printed_is_the_recommendation():
    assert str(result(*ROWS)).startswith("use onnx fp32, 1 thread: 1 ms; the fastest")
    assert str(result(ROWS[3])) == "nothing acceptable ran"
