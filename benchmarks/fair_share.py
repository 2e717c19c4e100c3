"""A training step beside other work on the same cores: how much of them it still gets.

Beside one process that is always busy, a step on two cores should take 1.5 times as long as alone. It takes
more where OpenMP's threads spin while they wait: the one that spins keeps from a core what it waits for.
GOMP_SPINCOUNT says how long they spin before they sleep; it is read when torch is loaded, so each count is
measured in processes of its own. `default` is what libgomp does by itself, `ours` what the commands set.

    python -m benchmarks.fair_share                             # auto and branches, alone and beside others
    python -m benchmarks.fair_share --spin default,0,1000,4000,20000
    python -m benchmarks.fair_share --forms auto,branches,timm  # timm's network too, where timm is installed
    python -m benchmarks.fair_share --threads 1                 # leaves the other cores to others

Loads are taken in turn, round by round, in one process per form and count. The machine must be idle.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOADS = {"alone": 0, "1 busy process": 1, "2 busy processes": 2}
WORKERS = "its 2 loader workers"
BUSY = "while True: pass"


@contextmanager
def busy(number: int) -> Iterator[None]:
    """That many processes that never wait."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def environment(spin: str, threads: int | None) -> dict[str, str]:
    """Of a measured process."""
    cleared = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    kept = {name: value for name, value in os.environ.items() if name not in cleared}
    if threads is not None:
        kept["OMP_NUM_THREADS"] = str(threads)
    if spin == "ours":
        from mobileone.processor import SPIN_COUNT

        spin = str(SPIN_COUNT)
    return kept if spin == "default" else kept | {"GOMP_SPINCOUNT": spin}


def measure(form: str, spin: str, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds a step under each load, a value a round."""
    command = [sys.executable, "-m", "benchmarks.fair_share", "--measured", form]
    command += ["--batch", str(arguments.batch), "--size", str(arguments.size)]
    process = subprocess.Popen(
        command,
        env=environment(spin, arguments.threads),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(what: str) -> float:
        process.stdin.write(f"{what}\n")
        process.stdin.flush()
        return float(json.loads(process.stdout.readline()))

    found: dict[str, list[float]] = {name: [] for name in (*LOADS, WORKERS)}
    try:
        ask("steps 3")
        for _ in range(arguments.rounds):
            for name, number in LOADS.items():
                with busy(number):
                    found[name].append(ask(f"steps {arguments.steps}"))
            found[WORKERS].append(ask(f"loaded {arguments.steps}"))
    finally:
        process.stdin.close()
        process.wait()
    return found


def serve(form: str, arguments: argparse.Namespace) -> None:
    """In the measured process: steps as they are asked for, and what one took, in ms."""
    step, batches = make_step(form, arguments), None
    for line in sys.stdin:
        what, number = line.split()
        if what == "loaded" and batches is None:
            batches = loaded_batches(arguments)
            next(batches)
        started = time.perf_counter()
        for _ in range(int(number)):
            if what == "loaded":
                assert batches is not None
                next(batches)
            step()
        print(json.dumps(1e3 * (time.perf_counter() - started) / int(number)), flush=True)


def make_step(form: str, arguments: argparse.Namespace) -> Callable[[], None]:
    """Forward, loss and backward of S0, float32, channels_last."""
    import torch
    from torch.nn import functional as F

    if form == "timm":
        import timm

        model = timm.create_model("mobileone_s0").to(memory_format=torch.channels_last)
    else:
        from benchmarks.online_training import build

        model = build("mobileone_s0", form, "cpu")
    model.train()
    x = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
    x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(arguments.batch) % 1000

    def step() -> None:
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), labels).backward()

    return step


def loaded_batches(arguments: argparse.Namespace) -> Iterator[object]:
    """Augmented batches of the digits from two worker processes, without end."""
    from mobileone.data.loader import train_loader
    from mobileone.data.open import open_data
    from mobileone.training.config.train_config import TrainConfig
    from mobileone.training.method.transforms import transform_at

    config = TrainConfig().with_values({"input_size": arguments.size})
    loader = train_loader(
        open_data("digits", split="train"),
        transform_at(config),
        batch_size=arguments.batch,
        seed=0,
        num_workers=2,
    )
    while True:
        yield from loader


def report(found: dict[str, list[float]], form: str, spin: str) -> None:
    alone = found["alone"]
    for name, values in found.items():
        times = sorted(value / one for value, one in zip(values, alone, strict=True))
        quartiles = f"[{times[len(times) // 4]:.2f}, {times[-1 - len(times) // 4]:.2f}]"
        ms, ratio = statistics.median(values), statistics.median(times)
        print(f"| {form} | {spin} | {name} | {ms:.0f} | {ratio:.2f} {quartiles} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--forms", default="auto,branches", help="auto, branches, plain, timm")
    parser.add_argument("--spin", default="default,ours", help="counts, default, or ours")
    parser.add_argument("--threads", type=int, help="of a step; a core each by default")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="under one load at a time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--measured", help="a form; what a measured process is started with")
    arguments = parser.parse_args()
    if arguments.measured:
        serve(arguments.measured, arguments)
        return
    from mobileone.processor import num_cores, processor_name

    what = f"batch {arguments.batch}, {arguments.size} px, float32, {num_cores()} cores"
    what += "" if arguments.threads is None else f", {arguments.threads} threads"
    print(f"{processor_name()}, {platform.system()}; S0, {what}; ms a step, and times of alone [quartiles]")
    print("| form | spin | beside | ms | times |\n|---|---|---|---|---|")
    for form in arguments.forms.split(","):
        for spin in arguments.spin.split(","):
            report(measure(form, spin, arguments), form, spin)


if __name__ == "__main__":
    main()
