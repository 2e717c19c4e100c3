"""Table, page and picture of made-up results."""

from dataclasses import replace

from mobileone.benchmarking.bench_page import page
from mobileone.benchmarking.bench_report import bench_report
from mobileone.benchmarking.latency import Latency

from .conftest import ROWS, result, row


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


def test_on_a_gpu_the_table_has_where_it_ran_and_what_copies_cost():
    found = result(
        row(
            "onnx", 1.0, device="cuda:0", device_latency=Latency(((4e-4,),) * 3, 1), device_bytes=500_000_000
        ),
        row("onnx", 2.0, device="tensorrt:0", precision="fp16"),
        row("onnx", latency=None, device="tensorrt:0", reason="no TensorRT"),
    )
    protocol = replace(found.protocol, accelerator="NVIDIA H100 (cuda:0), CUDA 12.8")
    found = replace(found, ceilings=(), protocol=protocol)
    lines = bench_report(found).splitlines()
    shown = "onnx fp32 cuda:0 1 1.000 1.000 1.000 0.400 21 1000.0 2.00 70 100 500 8.00 0.50 0.20"
    assert " ".join(lines[2].split()) == shown
    assert " ".join(lines[3].split()).startswith("onnx fp16 tensorrt:0 1 2.000 2.000 2.000 – 21")
    assert "did not run: onnx fp32 on tensorrt:0 (threads 1): no TensorRT" in lines
    assert any(
        line.startswith("NVIDIA H100 (cuda:0), CUDA 12.8; fp32 without TensorFloat-32") for line in lines
    )
    use = (
        "use onnx fp32 on cuda:0, 1 thread: 1 ms; the fastest, 2.00 times as fast as onnx fp16 on tensorrt:0"
    )
    assert use in lines[-1]
    html = page(found)
    assert 'data-value="tensorrt:0"' in html
    assert "Ceilings of this machine" not in html
