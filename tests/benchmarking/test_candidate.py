"""What is known of a candidate goes into its row."""

from mobileone.benchmarking.latency import Latency


def test_a_row_has_what_was_known_and_what_was_found(candidate, tmp_path):
    latency = Latency(((0.001,),), 4)
    found = candidate(batch=4, backend="onnx").row(latency=latency, runtime="x 1")
    assert (found.network, found.backend, found.precision, found.threads, found.batch_size) == (
        "net", "onnx", "fp32", 1, 4,
    )  # fmt: skip
    assert (found.latency, found.runtime, found.artifact, found.reason) == (latency, "x 1", None, None)


def test_what_was_found_wins(candidate):
    assert candidate().row(precision="bf16").precision == "bf16"
