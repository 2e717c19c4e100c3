"""Ranks that die, come back, and come back in another number."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.kill_resume import configuration, differing_bits, finish, start

from mobileone.checkpoint.rotation import Rotation
from mobileone.cli.reference import keep_earlier_run
from mobileone.data.augment import TrainTransform
from mobileone.data.digits import load_digits
from mobileone.data.loader import train_loader
from mobileone.errors import ConfigError
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit, is_lost_rank
from mobileone.training.run.run_dir import RunDir


def newest_step(run_dir: Path) -> int:
    files = Rotation(run_dir / "checkpoints").files()
    return int(files[0].name.split("-")[3]) if files else 0


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_elastic_ranks_two_one_two_go_on_with_the_same_steps(tmp_path: Path) -> None:
    # 22 steps of 128 images; at any rate that learns, rounding would grow until it hides what was seen.
    config = configuration(ranks=2, epochs=2).with_values({"optim.base_lr": 1e-4})
    assert finish(start(config, tmp_path / "whole", ranks=2))
    for ranks, until in ((2, 4), (1, 12)):
        processes = start(config, tmp_path / "parts", ranks=ranks)
        wait_for(lambda until=until: newest_step(tmp_path / "parts") >= until)
        os.kill(processes[-1].pid or 0, signal.SIGTERM)  # one rank is told, all stop and save
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [1] * ranks
    assert newest_step(tmp_path / "parts") < 22
    assert finish(start(config, tmp_path / "parts", ranks=2))
    whole, parts = (Rotation(tmp_path / name / "checkpoints").newest() for name in ("whole", "parts"))
    assert whole is not None
    assert parts is not None
    for record, expected in zip(parts.state["records"], whole.state["records"], strict=True):
        assert (record["lr"], record["weight_decay"]) == (expected["lr"], expected["weight_decay"])
        assert record["train_loss"] == pytest.approx(expected["train_loss"], rel=2e-4)
    assert parts.state["trainer"]["ema"]["num_updates"] == 22
    log = (tmp_path / "parts" / "train.log").read_text()
    assert "128 images each as with the 2 ranks at the start, now on 1" in log
    assert log.count("stopped by SIGTERM and saved") == 2
    assert (
        differing_bits(tmp_path / "whole", tmp_path / "parts")[0].total() > 0
    )  # rounding differs, as stated


def test_elastic_ranks_see_every_image_once_whatever_their_number() -> None:
    source, transform = load_digits("val"), TrainTransform(size=16)
    seen: Counter[int] = Counter()
    steps = {2: range(4), 1: range(4, 7), 3: range(7, 10)}
    alone = list(train_loader(source, transform, batch_size=36, seed=1))
    assert len(alone) == 10
    for ranks, part in steps.items():
        shares = []
        for rank in range(ranks):
            loader = train_loader(
                source, transform, batch_size=18, seed=1, rank=rank, world_size=ranks, step_size=36
            )
            loader.set_epoch(0, start=part.start)
            shares.append(list(loader)[: len(part)])
        for number, batches in zip(part, zip(*shares, strict=True), strict=True):
            indices = [index for batch in batches for index in batch.indices.tolist()]
            assert sorted(indices) == sorted(alone[number].indices.tolist())
            assert max(map(len, batches)) - min(map(len, batches)) <= 1
            seen.update(indices)
    assert seen == Counter(range(360))


def test_elastic_ranks_need_an_image_each() -> None:
    with pytest.raises(ConfigError, match="2 images a step for 3 ranks"):
        train_loader(
            load_digits("val"),
            TrainTransform(size=16),
            batch_size=1,
            seed=0,
            world_size=3,
            step_size=2,
        )


def test_elastic_restarts_of_a_launch_resume_by_themselves(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-1")
    monkeypatch.chdir(tmp_path)
    weights = Path("weights")
    one = dataclasses.replace(config, epochs=1)
    first = fit(one, run_dir=weights, progress=False)
    assert fit(one, run_dir=weights, progress=False).records == first.records
    keep_earlier_run(weights)  # the reference command line leaves it in place too
    assert weights.exists()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-2")
    with pytest.raises(ConfigError, match="holds a run already"):
        fit(one, run_dir=weights, progress=False)
    keep_earlier_run(weights)
    assert not weights.exists()


def test_elastic_launches_without_a_name_are_told_apart_by_their_agent(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    files = RunDir(tmp_path)
    files.claim(config, world_size=1)
    assert files.is_of_this_launch()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert not files.is_of_this_launch()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert not files.is_of_this_launch()
    files.claim(config, world_size=1)
    assert not files.is_of_this_launch()


def test_a_lost_rank_is_told_from_other_errors() -> None:
    assert is_lost_rank(RuntimeError("[/gloo/transport/tcp/pair.cc:537] Connection reset by peer"))
    assert is_lost_rank(RuntimeError("NCCL communicator was aborted on rank 1"))
    assert not is_lost_rank(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def rank_of(pid: str) -> str | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((item[5:].decode() for item in environment if item.startswith(b"RANK=")), None)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["0", "1"])
def test_elastic_torchrun_goes_on_after_a_rank_is_killed(
    config: TrainConfig, tmp_path: Path, victim: str
) -> None:
    run_dir = tmp_path / "run"
    model = json.dumps(config.to_dict()["model"])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [
        "--max-restarts=3",
        "-m",
        "mobileone",
        "train",
        "--data",
        config.data,
        "--run-dir",
        str(run_dir),
    ]
    command += ["--checkpoint-every", "1steps", "--set", f"model={model}", "batch_size=4", "epochs=12"]
    with subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    ) as launcher:
        wait_for(lambda: newest_step(run_dir) >= 3)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        (pid,) = [child for child in children if rank_of(child) == victim]
        os.kill(int(pid), signal.SIGKILL)
        try:
            _, stderr = launcher.communicate(timeout=100)
        finally:
            launcher.terminate()
    assert launcher.returncode == 0, stderr[-3000:]
    log = (run_dir / "train.log").read_text()
    assert log.count("resumed in epoch") == 1
    assert "epoch 12/12" in log
