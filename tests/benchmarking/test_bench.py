"""A whole benchmark, with measurements made up."""

import shlex
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from mobileone.benchmarking import bench as bench_module
from mobileone.benchmarking import candidate_builder
from mobileone.benchmarking.baselines import baselines_on
from mobileone.benchmarking.bench import bench
from mobileone.benchmarking.bench_report import bench_report
from mobileone.benchmarking.candidate_builder import CandidateBuilder
from mobileone.benchmarking.card import Card
from mobileone.benchmarking.latency import Latency
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

from .conftest import CEILINGS


def test_finished_artifacts_need_no_torch():
    code = "import sys, mobileone.cli.bench, mobileone.benchmarking.bench; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_for_artifacts_alone_nothing_needs_to_be_installed_to_export(tiny, tmp_path, monkeypatch, quick):
    quick(1.0)
    asked = []
    monkeypatch.setattr(candidate_builder, "check_installed", asked.append)
    model = create_model(tiny, num_classes=2, input_spec=InputSpec(size=32)).eval()
    path = export(model, tmp_path / "net.pt2", format="torch").path
    assert [row.backend for row in bench(path, progress=False).rows] == ["torch"]
    assert asked == []
    with pytest.raises(ConfigError, match="backends must be all, or some of"):
        bench(path, backends=("tensorrt",), progress=False)


def test_without_torch_there_are_no_floors_and_a_note(model, tmp_path, monkeypatch, quick):
    quick(1.0)
    monkeypatch.setattr(bench_module, "can_measure_ceilings", lambda: False)
    found = bench(export(model, tmp_path / "net.pt2", format="torch").path, progress=False)
    assert found.ceilings == ()
    assert found.rows[0].floor is None
    assert any("no floors" in note for note in found.protocol.notes)
    assert "\n\n\n" not in bench_report(found)


def test_networks_of_different_classes_are_evaluated_one_at_a_time(tiny, tmp_path):
    models = [create_model(tiny, num_classes=n, input_spec=InputSpec(size=32)).eval() for n in (2, 3)]
    with pytest.raises(ConfigError, match="different classes"):
        bench(*models, backends=("litert",), eval_data=tmp_path, progress=False)
    with pytest.raises(ConfigError, match="nothing to benchmark"):
        bench(backends=("litert",))


@pytest.fixture
def quick(monkeypatch):
    """Benchmarks without any process: candidates get these medians, in ms, in their order."""
    plans = []

    def apply(*medians):
        def measure(candidates, plan, noise, *, reference):
            plans.append(plan)
            times = [
                Latency(((ms / 1e3,),) * 20, each.batch_size)
                for each, ms in zip(candidates, medians, strict=True)
            ]
            return [
                each.row(latency=found, runtime="fake 1")
                for each, found in zip(candidates, times, strict=True)
            ]

        monkeypatch.setattr(bench_module, "measure", measure)
        monkeypatch.setattr(
            bench_module, "measure_ceilings", lambda cores: replace(CEILINGS, threads=len(cores))
        )
        return plans

    return apply


def test_rows_come_by_batch_size_and_median_with_a_floor_and_a_recommendation(quick, tiny, tmp_path):
    quick(3.0, 9.0, 1.0, 8.0)
    path = save_model(
        create_model(tiny, num_classes=2, input_spec=InputSpec(size=32)).eval(), tmp_path / "a b.pt"
    )
    found = bench(
        path, backends=("torch",), batch_sizes=(1, 4), baselines=("PyTorch fused",), progress=False, seed=3
    )
    rows = [(row.batch_size, row.backend, row.latency.median_ms) for row in found.rows]
    assert rows == [
        (1, "torch", pytest.approx(1.0)),
        (1, "PyTorch fused", pytest.approx(3.0)),
        (4, "torch", pytest.approx(8.0)),
        (4, "PyTorch fused", pytest.approx(9.0)),
    ]
    assert all(row.of_floor > 1 for row in found.rows)
    first, second = found.recommendations
    assert first.command == f"mobileone export {shlex.quote(str(path))} -o 'a b.pt2'"
    assert second.command == f"{first.command} --batch-size 4"
    assert (found.protocol.seed, found.protocol.runtimes) == (3, ("fake 1",))
    assert found.eval_data is None
    assert found.protocol.input == "tiny: seeded noise, 32×32"


def test_a_network_and_its_export_for_another_size_are_held_against_their_own_floors(quick, tiny, tmp_path):
    quick(1.0, 1.0, 1.0)
    path = save_model(create_model(tiny, num_classes=2, form="inference"), tmp_path / "net.pt")
    small = export(load_model(path), tmp_path / "small.pt2", format="torch", input_size=32).path
    found = bench(
        path, small, backends=("torch",), baselines=("PyTorch fused",), input_size=64, progress=False
    )
    floors = {row.artifact or row.backend: row.floor.milliseconds for row in found.rows}
    assert floors["PyTorch fused"] == floors["torch"] > 1.5 * floors[str(small)]
    assert found.protocol.input == "tiny: seeded noise, 64×64; tiny (small.pt2): seeded noise, 32×32"


def test_the_command_writes_what_was_measured(quick, tiny, tmp_path):
    quick(1.0)
    state = create_model(tiny, num_classes=2, form="inference").state_dict()
    torch.save({"a": state, "b": {name: value + 1 for name, value in state.items()}}, tmp_path / "two.pt")
    found = bench(
        tmp_path / "two.pt", backends=("torch",), baselines=(), input_size=(64, 32), weights_key="b",
        progress=False,
    )  # fmt: skip
    assert found.recommendations[0].command.endswith("two.pt2 --input-size 64x32 --weights-key b")


def test_what_is_recommended_needs_no_command_where_nothing_is_to_be_written(quick, model):
    quick(1.0, 2.0)
    found = bench(model, backends=("torch",), baselines=("PyTorch fused",), progress=False)
    assert found.recommendations[0].row.is_baseline
    assert found.recommendations[0].command is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": ()}, "threads must be one or more different values"),
        ({"threads": (1, 1)}, "different values"),
        ({"threads": (0,)}, "the cores of this machine, got 0"),
        ({"batch_sizes": (0,)}, "batch sizes must be at least 1"),
        ({"precisions": ("fp8",)}, "precisions must be among"),
        ({"baselines": ("TensorFlow",)}, "baselines must be among"),
        ({"runs": 0}, "runs must be at least 1"),
        ({"eval_images": 0}, "eval images must be at least 1"),
        ({"budget_s": float("nan")}, "time budget"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"backends": ()}, "got none"),
        ({"backends": ("abacus",)}, "got abacus"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_runs(quick, model, options, message):
    plans = quick()
    with pytest.raises(ConfigError, match=message):
        bench(model, **{"backends": ("torch",), "progress": False} | options)
    assert plans == []


def test_on_a_gpu_it_is_named_and_nothing_is_held_against_the_processor(quick, model, monkeypatch):
    plans = quick(2.0, 1.0)
    card = Card(device="cuda:1", name="NVIDIA H100", versions={"CUDA": "12.8"})
    monkeypatch.setattr(bench_module, "find_card", lambda device: card)
    monkeypatch.setattr(bench_module, "measure_ceilings", None)
    monkeypatch.setattr(candidate_builder, "check_installed", lambda name: None)
    names = ("PyTorch fused", "PyTorch CUDA graph")
    monkeypatch.setattr(CandidateBuilder, "_exported", lambda *_: iter(()))
    found = bench(model, device="cuda:1", baselines=names, progress=False)
    assert plans[0].card is card
    assert [(row.backend, row.device) for row in found.rows] == [(name, "cuda:1") for name in reversed(names)]
    assert found.to_dict()["protocol"]["accelerator"] == "NVIDIA H100 (cuda:1), CUDA 12.8"
    assert (found.ceilings, found.rows[0].floor) == ((), None)
    assert "no ceilings, and no floors: they are the processor's" in found.protocol.notes
    assert "on cuda:1, 1 thread" in found.recommendations[0].row.name


def test_what_only_a_gpu_can_run_is_refused_on_the_processor(model):
    with pytest.raises(
        ConfigError, match=r"baselines must be among PyTorch unfused.*got 'PyTorch CUDA graph'"
    ):
        bench(model, backends=("torch",), baselines=("PyTorch CUDA graph",), progress=False)


@pytest.mark.gpu
def test_every_way_to_run_a_network_on_a_gpu(model):
    found = bench(model, device="cuda", precisions=("fp32", "bf16"), runs=5, progress=False)
    rows = {(row.backend, row.precision): row for row in found.rows}
    for name in baselines_on("cuda"):
        for precision in ("fp32", "bf16"):
            row = rows[name, precision]
            assert row.reason is None
            assert 0 < row.device_latency.min_ms <= row.latency.median_ms
            assert row.device_bytes > 0
