"""Table, page and picture of made-up results."""

import json
from html.parser import HTMLParser

import pytest
from PIL import Image

from mobileone.benchmarking.bench_page import page, write_page
from mobileone.benchmarking.bench_plot import write_plot
from mobileone.benchmarking.bench_report import bench_report

from .conftest import result, row

ROWS = (
    row("onnx", 1.0, accuracy=80.0),
    row("openvino", 2.0, accuracy=79.5, threads=2),
    row("PyTorch fused", 9.0, accuracy=80.0, is_baseline=True, size_bytes=None),
    row("<b>bad</b>", latency=None, reason="crashed with SIGSEGV", floor=None),
)


def test_the_table_by_hand():
    text = bench_report(result(*ROWS, evaluated=True))
    lines = text.splitlines()
    assert lines[0] == "net, batch 1"
    shown = "onnx fp32 1 1.000 1.000 1.000 21 1000.0 2.00 80.00 70 100 8.00 0.50 0.20"
    assert " ".join(lines[2].split()) == shown
    assert "did not run: <b>bad</b> fp32 (threads 1): crashed with SIGSEGV" in lines
    assert "this machine at best, 1 thread: fp32 multiply-add 100 GFLOP/s" in text
    assert "int8 dot product 400 GOP/s" in text
    assert "PyTorch in float, net: top-1 80.00 %" in text
    assert "left out: coreml" in text
    assert lines[-1].startswith("use onnx fp32, 1 thread: 1 ms; the fastest, 2.00 times as fast as openvino")
    assert "WARNING" not in text


def test_a_busy_machine_is_said_so():
    found = result(*ROWS, warning=True)
    assert bench_report(found).splitlines()[-1].startswith("WARNING: this machine is busy (load average 3.00")
    assert "Warning: this machine is busy" in page(found)


def test_without_images_there_is_no_accuracy_column():
    assert "top-1" not in bench_report(result(row("onnx"))).splitlines()[1]


def test_two_batch_sizes_are_two_tables_and_two_recommendations():
    lines = bench_report(result(row("onnx"), row("onnx", 30.0, batch=64))).splitlines()
    assert "net, batch 64" in lines
    assert [line.partition(": ")[0] for line in lines[-2:]] == ["net, batch 1", "net, batch 64"]


def test_json_has_every_run():
    found = json.loads(json.dumps(result(*ROWS, evaluated=True).to_dict(), allow_nan=False))
    assert found["schema"] == "mobileone.bench/1"
    assert len(found["rows"][0]["latency"]["rounds_ms"]) == 21
    assert found["rows"][0]["of_floor"] == pytest.approx(2.0)
    assert found["rows"][3]["latency"] is None
    assert found["recommendations"][0]["use"] == "onnx fp32, 1 thread"


class Outline(HTMLParser):
    """Open tags, and every attribute that could load something."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.links, self.circles = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.circles += tag == "circle"
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        if tag != "meta":
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    path = write_page(result(*ROWS, evaluated=True), tmp_path / "new" / "page.html")
    text = path.read_text(encoding="utf-8")
    outline = Outline(text)
    assert (outline.stack, outline.links, outline.circles) == ([], [], 3)
    assert "&lt;b&gt;bad&lt;/b&gt;" in text
    assert "<b>bad</b>" not in text
    assert "use onnx fp32, 1 thread" in text
    assert 'class="roof" points=' in text
    without = page(result(*ROWS[:1]))
    assert "<svg" in page(result(*ROWS, evaluated=True))
    assert len(Outline(without).links) == 0


@pytest.mark.parametrize("evaluated", [True, False])
def test_the_picture(tmp_path, evaluated):
    rows = ROWS if evaluated else [row("onnx", 1.0), row("onnx", 30.0, batch=64)]
    path = write_plot(result(*rows, evaluated=evaluated), tmp_path / "new" / "plot.png")
    with Image.open(path) as image:
        assert image.size[0] == (1200 if evaluated else 2400)
        assert len(image.convert("RGB").getcolors(2**20)) > 20
