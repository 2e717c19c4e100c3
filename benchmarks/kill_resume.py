"""Claim (docs/fault_tolerance.md): a run killed with SIGKILL at any moment, and resumed, ends the same.

Trains a tiny network on the digits once in peace; then again and again, with SIGKILL at random moments (while
it starts, reads its checkpoint, trains, evaluates, writes) and resuming, until the kills are spent. Every
bit of weights, averages, momentum, random states and metrics is compared, wall-clock figures excepted.

Run: python -m benchmarks.kill_resume --kills 50
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mobileone.checkpoint.rotation import Rotation
from mobileone.checkpoint.store import load_state
from mobileone.input_spec import InputSpec
from mobileone.training.config.augmentation import Augment, Phase
from mobileone.training.config.optimization import Optim
from mobileone.training.config.resources import Compute, Loading, Saving
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.watch.records import WALL_CLOCK
from mobileone.variants import Variant

STEP_IMAGES = 128
TINY = Variant("tiny", (8, 8, 16, 16), num_conv_branches=2, depths=(1, 1, 1, 1))
EARLY_SHARE = 0.2  # of the kills, before the first step
EARLY_S, SPAN_S = 0.4, 1.2
PATIENCE_S = 120.0


def configuration(*, ranks: int, epochs: int = 3, workers: int = 0) -> TrainConfig:
    """A run with everything that has state: momentum, averages, warm-up, phases, augmentation."""
    return TrainConfig(
        model=TINY,
        data="digits",
        epochs=epochs,
        batch_size=STEP_IMAGES // ranks,
        input_spec=InputSpec(size=32),
        progressive=(Phase(until=0.4, size=24, strength=0.5),),
        augment=Augment(crop_scale=(0.8, 1.0)),
        optim=Optim(base_lr=0.2, warmup_epochs=1),
        compute=Compute(device="cpu"),
        loading=Loading(num_workers=workers),
        saving=Saving(checkpoint_every="2steps"),
    )


def train_rank(config: dict[str, Any], run_dir: str, rank: int, ranks: int, port: int) -> None:
    """One process of a run, fresh or resumed; what a launcher would start."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a kill leaves behind
    if ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        sys.stderr = open(os.devnull, "w")  # the rank that is left complains  # noqa: SIM115
    fit(TrainConfig.from_dict(config), run_dir=run_dir, resume="auto", progress=False)


def start(config: TrainConfig, run_dir: Path, *, ranks: int) -> list[BaseProcess]:
    """The processes of a run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mobileone.training.run.fit", "sklearn.datasets", "matplotlib.figure"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(ranks):
        arguments = (config.to_dict(), str(run_dir), rank, ranks, port)
        started.append(context.Process(target=train_rank, args=arguments))
        started[-1].start()
    return started


def finish(processes: list[BaseProcess]) -> bool:
    """Wait for all of them; whether all ended well."""
    for process in processes:
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()
    return all(process.exitcode == 0 for process in processes)


@dataclass
class Killer:
    """Kills runs at random moments.

    Attributes:
        chance: where the moments come from.
        kills: how many of each kind there were.
    """

    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def strike(self, processes: list[BaseProcess], run_dir: Path) -> bool:
        """Kill a run that has just been started; False if it ended before its time had come."""
        log = run_dir / "train.log"
        before = _size(log)
        early = self.chance.random() < EARLY_SHARE
        if early:
            time.sleep(self.chance.uniform(0, EARLY_S))
        else:
            deadline = time.monotonic() + PATIENCE_S
            while _size(log) == before and processes[0].is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(self.chance.uniform(0, SPAN_S))
        victims = processes if self.chance.random() < 0.5 else [self.chance.choice(processes)]
        if not all(process.is_alive() for process in processes):
            return False
        for process in victims:
            process.kill()
        finish(processes)  # a rank that is left ends by itself
        self.kills["while starting" if _size(log) == before else "at work"] += 1
        return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def killed_run(config: TrainConfig, run_dir: Path, *, ranks: int, killer: Killer, kills: int) -> None:
    """Train to the end, with at most that many kills on the way.

    Raises:
        RuntimeError: if the run fails otherwise than by being killed.
    """
    for _ in range(kills):
        processes = start(config, run_dir, ranks=ranks)
        if not killer.strike(processes, run_dir):
            if not finish(processes):
                raise RuntimeError(f"the run in {run_dir} failed by itself; see train.log there")
            return
    if not finish(start(config, run_dir, ranks=ranks)):
        raise RuntimeError(f"the run in {run_dir} did not resume; see train.log there")


def contents(run_dir: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that a run came to, by name, as bytes; without wall-clock figures."""
    newest = Rotation(run_dir / "checkpoints").files()[0]
    state = load_state(newest)
    for record in state["records"]:
        del record["seconds"], record["images_per_second"], record["data_wait"]
    del state["progress"]["seconds"], state["progress"]["waiting"], state["last"]["seconds"]
    yield from _leaves(state, "state")
    for name in ("last", "best"):
        yield name, (run_dir / f"{name}.safetensors").read_bytes()
    header, *lines = (run_dir / "metrics.csv").read_text().splitlines()
    kept = [index for index, column in enumerate(header.split(",")) if column not in WALL_CLOCK]
    for line in lines:
        fields = line.split(",")
        yield f"metrics of epoch {fields[0]}", ",".join(fields[index] for index in kept).encode()


def _leaves(value: Any, name: str) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, torch.Tensor):
        yield name, value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{name}.{index}")
    else:
        yield name, float(value).hex().encode() if isinstance(value, float) else repr(value).encode()


def differing_bits(one: Path, other: Path) -> tuple[Counter[str], int]:
    """How many bits of two runs differ, by name, and how many were compared.

    What only one of them has counts whole.
    """
    found: Counter[str] = Counter()
    wanted, got = dict(contents(one)), dict(contents(other))
    for name in wanted.keys() | got.keys():
        a, b = wanted.get(name, b""), got.get(name, b"")
        size = max(len(a), len(b))
        different = int.from_bytes(a.ljust(size, b"\0")) ^ int.from_bytes(b.ljust(size, b"\0"))
        bits = different.bit_count() or 8 * abs(len(a) - len(b))
        if bits:
            found[name] = bits
    return found, 8 * sum(map(len, wanted.values()))


def measure(folder: Path, *, ranks: int, kills: int, seed: int, workers: int = 0, epochs: int = 3) -> int:
    """Spend the kills, print what came of it, and return the number of differing bits."""
    config = configuration(ranks=ranks, workers=workers, epochs=epochs)
    killer = Killer(random.Random(seed))
    peaceful = folder / f"{ranks}-peaceful"
    if not finish(start(config, peaceful, ranks=ranks)):
        raise RuntimeError(f"the run in {peaceful} failed without being killed; see train.log there")
    total, compared, runs = Counter[str](), 0, 0
    while killer.kills.total() < kills:
        run_dir = folder / f"{ranks}-killed-{runs}"
        left = kills - killer.kills.total()
        killed_run(config, run_dir, ranks=ranks, killer=killer, kills=left)
        found, compared = differing_bits(peaceful, run_dir)
        total += found
        runs += 1
    who = "1 process" if ranks == 1 else f"{ranks} ranks"
    spent = ", ".join(f"{count} {kind}" for kind, count in sorted(killer.kills.items(), reverse=True))
    print(f"{who}, {workers} loader workers: {killer.kills.total()} kills in {runs} runs ({spent})")
    print(f"  {compared:,} bits compared a run; differing bits: {total.total()}")
    for name, bits in total.most_common(10):
        print(f"  {bits:>12,} in {name}")
    return total.total()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", default=50, type=int, help="for one process, and again for two ranks")
    parser.add_argument("--workers", default=0, type=int, help="loader processes a rank")
    parser.add_argument("--seed", default=0, type=int)
    arguments = parser.parse_args()
    print(
        f"# torch {torch.__version__}, 1 thread a rank, {STEP_IMAGES} images a step, checkpoint every 2 steps"
    )
    with tempfile.TemporaryDirectory() as folder:
        options = {"kills": arguments.kills, "seed": arguments.seed, "workers": arguments.workers}
        bits = sum(measure(Path(folder), ranks=ranks, **options) for ranks in (1, 2))
    print(f"differing bits: {bits}")
    sys.exit(bits != 0)


if __name__ == "__main__":
    main()
