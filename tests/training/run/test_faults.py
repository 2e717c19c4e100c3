"""Every fault a long run meets, provoked: what was finished stays, and the message says what to do."""

import dataclasses
import multiprocessing
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.kill_resume import differing_bits
from torch import Tensor

from mobileone.checkpoint.rotation import Rotation
from mobileone.data.folder import find_images
from mobileone.errors import BadImageError, CheckpointError, MobileOneError, TrainingError
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method import step as step_module
from mobileone.training.run import loop as loop_module
from mobileone.training.run.fit import fit
from mobileone.training.run.loop import TrainLoop
from mobileone.training.run.trainer import Trainer

AtStep = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    return config.with_values({"saving.checkpoint_every": "1steps"})


@pytest.fixture
def whole(config: TrainConfig, tmp_path: Path) -> Path:
    """The folder of a run that nothing happened to."""
    fit(config, run_dir=tmp_path / "whole", progress=False)
    return tmp_path / "whole"


def log_of(run_dir: Path) -> str:
    return (run_dir / "train.log").read_text()


# --- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, empty."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, ballast: Path) -> None:
    ballast.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))


def test_fault_disk_full_within_an_epoch_is_waited_out(
    config: TrainConfig,
    whole: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at_step: AtStep,
) -> None:
    run_dir, ballast = small_disk / "run", small_disk / "ballast"
    at_step(2, lambda: fill(small_disk, ballast))
    at_step(3, ballast.unlink)
    monkeypatch.setattr(loop_module, "draw_curves", lambda records, path: None)
    fit(config, run_dir=run_dir, progress=False)
    # The log is on the full disk too: the line is in what is left of its last block, or else on stderr.
    said = log_of(run_dir) + capsys.readouterr().err
    assert re.search(r"no checkpoint at step 2, the run goes on without: cannot write .*No space left", said)
    assert differing_bits(whole, run_dir)[0] == {}


def test_fault_disk_full_at_the_end_of_an_epoch_stops_and_loses_nothing(
    config: TrainConfig, whole: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, at_step: AtStep
) -> None:
    run_dir, ballast = small_disk / "run", small_disk / "ballast"
    monkeypatch.setattr(loop_module, "draw_curves", lambda records, path: None)
    at_step(5, lambda: fill(small_disk, ballast))
    with pytest.raises(MobileOneError, match=r"cannot write .*No space left on device") as caught:
        fit(config, run_dir=run_dir, progress=False)
    assert "\n" not in str(caught.value)
    assert Rotation(run_dir / "checkpoints").files()[0].name.startswith("epoch-001-step-00000004")
    assert list(run_dir.rglob(".*unfinished*")) == []
    ballast.unlink()
    fit(config, run_dir=run_dir, resume=True, progress=False)
    assert differing_bits(whole, run_dir)[0] == {}


@pytest.fixture
def set_mode(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """Makes a folder read-only ("ro") or writable ("rw"), for root too, whom permissions do not stop."""
    mounted: list[Path] = []

    def change(folder: Path, mode: str) -> None:
        if os.getuid():
            folder.chmod(0o555 if mode == "ro" else 0o755)
            return
        if folder not in mounted:
            if subprocess.run(["mount", "--bind", folder, folder], check=False).returncode:
                pytest.skip("root writes everywhere, and may not mount here")
            mounted.append(folder)
        subprocess.run(["mount", "-o", f"remount,bind,{mode}", folder], check=True)

    yield change
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


REFUSED = r"cannot write .*(Read-only file system|Permission denied)"


def test_fault_read_only_run_folder_is_found_before_training(
    config: TrainConfig,
    tmp_path: Path,
    set_mode: Callable[[Path, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "runs").mkdir()
    set_mode(tmp_path / "runs", "ro")
    monkeypatch.setattr(TrainLoop, "run", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(MobileOneError, match=REFUSED):
        fit(config, run_dir=tmp_path / "runs" / "run", progress=False)


def test_fault_read_only_checkpoints_stop_the_epoch_and_lose_nothing(
    config: TrainConfig,
    whole: Path,
    tmp_path: Path,
    set_mode: Callable[[Path, str], None],
    at_step: AtStep,
) -> None:
    run_dir = tmp_path / "run"
    at_step(5, lambda: set_mode(run_dir / "checkpoints", "ro"))
    with pytest.raises(MobileOneError, match=REFUSED):
        fit(config, run_dir=run_dir, progress=False)
    assert re.search(r"no checkpoint at step 5, the run goes on without: " + REFUSED, log_of(run_dir))
    set_mode(run_dir / "checkpoints", "rw")
    fit(config, run_dir=run_dir, resume=True, progress=False)
    assert differing_bits(whole, run_dir)[0] == {}


def test_fault_damaged_checkpoint_falls_back_and_says_so(
    config: TrainConfig, whole: Path, tmp_path: Path, at_step: AtStep
) -> None:
    run_dir = tmp_path / "run"
    at_step(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingError):
        fit(config, run_dir=run_dir, progress=False)
    newest, before = Rotation(run_dir / "checkpoints").files()
    content = bytearray(newest.read_bytes())
    content[len(content) // 3] ^= 16
    newest.write_bytes(content)
    fit(config, run_dir=run_dir, resume=True, progress=False)
    log = log_of(run_dir)
    assert f"{newest} is torn or damaged" in log
    assert "falling back to the one before it" in log
    assert "resumed in epoch 2 after step 0" in log
    assert before.name.startswith("epoch-001-step-00000003")
    assert differing_bits(whole, run_dir)[0] == {}
    for path in Rotation(run_dir / "checkpoints").files():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        fit(config, run_dir=run_dir, resume=True, progress=False)


# --- the numbers


def poison(monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
    """The loss of these steps is not a number, and so are their gradients."""
    real, numbers = step_module.TrainLoss.__call__, iter(range(1, 10_000))

    def loss(*args: Tensor, **options: float) -> Tensor:
        value = real(*args, **options)
        return value * float("nan") if next(numbers) in calls else value

    monkeypatch.setattr(step_module.TrainLoss, "__call__", loss)


def test_fault_nan_loss_is_skipped_within_the_budget(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, max_skipped_steps=2)
    poison(monkeypatch, 2, 5)
    result = fit(config, run_dir=tmp_path / "run", progress=False)
    assert len(result.records) == 2
    found = Rotation(tmp_path / "run" / "checkpoints").newest()
    assert found is not None
    assert found.state["trainer"]["num_skipped"] == 2
    for part in ("network", "ema"):
        tensors = found.state["trainer"][part]
        tensors = tensors["module"] if part == "ema" else tensors
        assert all(value.isfinite().all() for value in tensors.values())
    log = log_of(tmp_path / "run")
    assert log.count("skipped a step: the loss became nan") == 2
    assert "in epoch 1, step 2 of 3; its images: " in log
    line = next(line for line in log.splitlines() if "skipped a step" in line)
    assert line.count(".jpg") == 8


def test_fault_nan_loss_over_the_budget_stops_with_the_paths(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, max_skipped_steps=1)
    poison(monkeypatch, 2, 5)
    message = r"the loss became nan in epoch 2, step 2 of 3; .*number 2.*max_skipped_steps is 1; its images: "
    with pytest.raises(
        TrainingError, match=message + r"\S+\.jpg \S+\.jpg \S+\.jpg … \(all 8 are in train\.log"
    ):
        fit(config, run_dir=tmp_path / "run", progress=False)
    found = Rotation(tmp_path / "run" / "checkpoints").newest()
    assert found is not None
    assert (found.state["progress"]["epoch"], found.state["progress"]["images"]) == (1, 8)
    assert len(found.state["records"]) == 1
    monkeypatch.undo()
    patient = dataclasses.replace(config, max_skipped_steps=9)
    assert len(fit(patient, run_dir=tmp_path / "run", resume=True, progress=False).records) == 2


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_fault_nan_step_leaves_everything_as_it_was(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    batches = list(trainer.loader)
    trainer.step.model.train()
    assert trainer.step(batches[0], lr=0.1, weight_decay=0.0).finite
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    momentum = [s["momentum_buffer"].clone() for s in trainer.step.optimizer.state.values()]
    if kind == "loss":
        poison(monkeypatch, 1)
    else:
        trainer.network.head.fc.weight.register_hook(lambda gradient: gradient / 0)
    result = trainer.step(batches[1], lr=0.1, weight_decay=0.1)
    assert not result.finite
    assert result.loss.isfinite() == (kind == "gradient")
    after = trainer.network.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    for value, state in zip(momentum, trainer.step.optimizer.state.values(), strict=True):
        assert torch.equal(value, state["momentum_buffer"])
    assert trainer.ema is not None
    assert all(value.isfinite().all() for value in trainer.ema.module.state_dict().values())


def test_fault_nan_in_every_step_ends_the_run(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 4, 5, 6)
    with pytest.raises(TrainingError, match="every step of epoch 2 was skipped"):
        fit(config, run_dir=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "best.safetensors").exists()


# --- the data


def test_fault_dead_worker_is_replaced_and_costs_no_bit(
    config: TrainConfig, whole: Path, tmp_path: Path, at_step: AtStep
) -> None:
    before = {child.pid for child in multiprocessing.active_children()}

    def kill_workers() -> None:
        for child in multiprocessing.active_children():
            if child.pid not in before and child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)

    at_step(1, kill_workers)
    run_dir = tmp_path / "run"
    fit(config.with_values({"loading.num_workers": 1}), run_dir=run_dir, progress=False)
    log = log_of(run_dir)
    assert len(re.findall(r"a data worker process died \(.*\); new ones go on with batch \d", log)) >= 1
    assert differing_bits(whole, run_dir)[0] == {}


def test_fault_unreadable_file_can_be_mended_and_the_run_resumed(
    config: TrainConfig, whole: Path, tmp_path: Path, at_step: AtStep
) -> None:
    run_dir = tmp_path / "run"
    kept: dict[Path, bytes] = {}

    def spoil() -> None:
        for path in Path(config.data, "train", "dark").iterdir():
            kept[path] = path.read_bytes()
            path.write_bytes(kept[path][:100])

    at_step(4, spoil)
    with pytest.raises(BadImageError, match=r"/train/dark/\d+\.jpg: "):
        fit(config, run_dir=run_dir, progress=False)
    assert Rotation(run_dir / "checkpoints").files()[0].name.startswith("epoch-001-step-00000004")
    for path, content in kept.items():
        path.write_bytes(content)
    fit(config, run_dir=run_dir, resume=True, progress=False)
    assert differing_bits(whole, run_dir)[0] == {}
