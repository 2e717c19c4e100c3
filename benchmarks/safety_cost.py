"""Claim (docs/fault_tolerance.md): what it costs to save a run, and to check every step for NaN.

Saving: the resume file of a network in training (weights, averages, momentum), written, hashed and flushed
to the disk the folder is on; beside it reading and checking it. Checking: steps of S0 on digits-sized images
with and without the guard, in turn; CPU time of one thread.

Run: python -m benchmarks.safety_cost
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from mobileone.checkpoint.rotation import Rotation
from mobileone.data.digits import load_digits
from mobileone.data.loader import Batch
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.recipe import recipe
from mobileone.training.config.train_config import override
from mobileone.training.method.rollback import Rollback
from mobileone.training.method.step import TrainStep
from mobileone.training.run.trainer import Trainer

ROUNDS = 9


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work()
    return clock() - started


def spread(values: list[float], scale: float = 1.0) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{scale * middle:.2f} ({scale * low:.2f} to {scale * high:.2f})"


def trainer_of(model: str) -> Trainer:
    config = override(recipe("digits"), [f"model={model}", "device=cpu"])
    return Trainer(config, load_digits("train"), Distributed())


def saving(model: str, disk: Path | None) -> None:
    trainer = trainer_of(model)
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        rotation = Rotation(Path(folder))
        state = {"trainer": trainer.state_dict()}
        writes = [seconds(lambda: rotation.save(state, epoch=0, step=step)) for step in range(ROUNDS)]  # noqa: B023
        reads = [seconds(rotation.newest) for _ in range(ROUNDS)]
        size = rotation.files()[0].stat().st_size
    print(f"{model}: {size / 1e6:.1f} MB, saved in {spread(writes)} s, read in {spread(reads)} s")


def checking() -> None:
    trainer = trainer_of("mobileone_s0")
    step = trainer.step
    step.model.train()
    batch: Batch = next(iter(trainer.loader))
    one = lambda: step(batch, lr=1e-4, weight_decay=0.0)  # noqa: E731

    def plain(self: TrainStep, finite: torch.Tensor) -> torch.Tensor:
        self.optimizer.step()
        return finite

    with_guard, without = [], []
    one()
    for _ in range(3 * ROUNDS):
        with_guard.append(seconds(one, time.process_time))
        nothing = lambda *_: None  # noqa: E731
        with (
            mock.patch.object(TrainStep, "_step_if", plain),
            mock.patch.multiple(Rollback, remember=nothing, where=nothing),
        ):
            without.append(seconds(one, time.process_time))
    ratios = [a / b for a, b in zip(with_guard, without, strict=True)]
    print(
        f"step of S0, {len(batch)} images of 32 px: {spread(with_guard, 1e3)} ms with the guard, "
        f"{spread(without, 1e3)} ms without; ratio {spread(ratios)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--disk", type=Path, help="folder on the disk to write to; default: that of temporary files"
    )
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"# torch {torch.__version__}, 1 thread, {ROUNDS} rounds ({3 * ROUNDS} of steps), median (range)")
    checking()
    for model in ("mobileone_s0", "mobileone_s4"):
        saving(model, arguments.disk)


if __name__ == "__main__":
    main()
