"""Made-up rows and results, and candidates that run a fake session."""

from pathlib import Path

import numpy as np
import pytest

from mobileone.benchmarking.bench_result import Accuracy, BenchProtocol, BenchResult, BenchRow
from mobileone.benchmarking.candidate import Candidate
from mobileone.benchmarking.ceilings import Ceiling, Ceilings
from mobileone.benchmarking.floor import Floor
from mobileone.benchmarking.latency import Latency
from mobileone.benchmarking.noise import Noise
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.processor import usable_cores

FAKE = Path(__file__).parent / "fake_session.py"

CEILINGS = Ceilings(
    threads=1,
    arithmetic={
        "fp32": Ceiling(gops=100.0, source="fp32 multiply-add"),
        "bf16": Ceiling(gops=50.0, source="bf16 dot product"),
        "int8": Ceiling(gops=400.0, source="int8 dot product"),
    },
    copies=((2**20, 50.0), (2**28, 10.0)),
    notes=("a note",),
)


def row(backend="onnx", ms=1.0, *, spread=0.0, threads=1, batch=1, accuracy=None, **facts) -> BenchRow:
    """A candidate of that median; `spread` of it separates its rounds, evenly."""
    rounds = tuple((ms * (1 + spread * (i - 10) / 10) / 1e3,) for i in range(21))
    known = {
        "network": "net",
        "precision": "fp32",
        "start_s": 0.5,
        "open_s": 0.2,
        "idle_bytes": 30_000_000,
        "peak_bytes": 100_000_000,
        "size_bytes": 8_000_000,
        "floor": Floor(milliseconds=0.5, arithmetic_ms=0.4, memory_ms=0.3),
    }
    found = None if accuracy is None else Accuracy(num_images=100, top1=accuracy, agreement=accuracy)
    return BenchRow(
        **known
        | {
            "backend": backend,
            "threads": threads,
            "batch_size": batch,
            "latency": Latency(rounds, batch),
            "accuracy": found,
        }
        | facts
    )


def result(*rows: BenchRow, evaluated=False, warning=False) -> BenchResult:
    """A result of those rows, with a recommendation for each group."""
    from mobileone.benchmarking.bench_result import group
    from mobileone.benchmarking.recommendation import recommend

    reference = {"net": Accuracy(num_images=100, top1=80.0, agreement=100.0)} if evaluated else {}
    found = [
        recommend(own, reference.get(network), tolerance=1.0, evaluated=evaluated)
        for network, _, own in group(rows)
    ]
    noise = Noise([0], load_before=3.0 if warning else 0.0, spins_ms={0: [1.0, 1.0, 1.02]})
    return BenchResult(
        rows=rows,
        recommendations=tuple(each for each in found if each),
        ceilings=(CEILINGS,),
        noise=noise,
        protocol=BenchProtocol(
            processor="<processor> & more",
            cores=2,
            system="Linux",
            runtimes=("fake 1.0",),
            versions={"python": "3", "mobileone": "0"},
            input="net: seeded noise, 224×224",
            runs=21,
            budget_s=10.0,
            rounds=20,
            warmup_runs=10,
            wake_s=0.05,
            seed=0,
            pinned=True,
            notes=("left out: coreml",),
            date="2026-01-01",
        ),
        eval_data="100 labelled images of x" if evaluated else None,
        tolerance=1.0,
        reference=reference,
    )


@pytest.fixture
def inputs(tmp_path) -> Path:
    path = tmp_path / "inputs.npy"
    np.save(path, np.zeros((1, 1, 2, 2), np.float32))
    return path


@pytest.fixture
def candidate(inputs):
    """Makes a candidate that runs the fake session with these options."""

    def make(*, batch=1, session="Fake", backend="fake", precision="fp32", **options) -> Candidate:
        return Candidate(
            network="net",
            backend=backend,
            precision=precision,
            threads=1,
            batch_size=batch,
            opener=f"{FAKE}:{session}",
            options=options,
            inputs=inputs,
        )

    return make


ROWS = (
    row("onnx", 1.0, accuracy=80.0),
    row("openvino", 2.0, accuracy=79.5, threads=2),
    row("PyTorch fused", 9.0, accuracy=80.0, is_baseline=True, size_bytes=None),
    row("<b>bad</b>", latency=None, reason="crashed with SIGSEGV", floor=None),
)


# The last core that there is, as candidates of one thread get it.
CORE = usable_cores()[-1:]


@pytest.fixture
def model(tiny):
    """A small fused network of two classes."""
    return create_model(tiny, num_classes=2, form="inference", input_spec=InputSpec(size=32)).eval()
