"""The reference port's command line on this package: the same flags, files and prints, for S0.

`weights/` is the run directory: step.csv, last.pt and best.pt as in the port (but tensors only, no pickled
module), beside this package's own files.
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import arg

from mobileone.atomic import atomic_path
from mobileone.cli.main import guard, run_and_end
from mobileone.cli.train import told_by_flags
from mobileone.cli.usage import parse
from mobileone.errors import CheckpointError
from mobileone.processor import share_cores
from mobileone.profiling.cost import network_cost
from mobileone.training.watch.callback import Callback
from mobileone.variants import VARIANTS

if TYPE_CHECKING:
    from mobileone.ranks.distributed import Distributed
    from mobileone.training.watch.records import EpochRecord

WEIGHTS = Path("weights")
VARIANT = "mobileone_s0"
CPU_BATCH_SIZE = 32  # 256 images of 224 px in train form want some 34 GB
STEP_COLUMNS = ("epoch", "acc@1", "acc@5", "train_loss", "val_loss")
GPU_BATCH_SIZE = 256
BENCHMARK_WARMUP, BENCHMARK_RUNS = 10, 200


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Train and test MobileOne-S0: `bash main.sh N --train`, `python main.py --test`.

    Prints the number of parameters and FLOPs of the fused network first.
    """

    data: str | None = None
    """Folder with train/<class>/ and val/<class>/, or `digits`. Default: IMAGENET, else as set in main.py."""
    input_size: int = 224
    """Side of the square input, pixels."""
    batch_size: int | None = None
    """Images a step on one rank. Default: 256 on a GPU, 32 on a CPU."""
    epochs: int = 300
    """Passes over the training images."""
    train: bool = False
    """Train into weights/; an earlier run there is kept as weights.1, weights.2, …"""
    test: bool = False
    """Test weights/best.pt, fused."""
    benchmark: bool = False
    """Measure the latency of the fused network for one image on this CPU."""
    resume: bool = False
    """With --train: go on with the run in weights/, from its newest checkpoint."""
    workers: int | None = None
    """Loader processes a rank. Default: this rank's share of the cores, 8 at most."""
    local_rank: Annotated[int, arg(metavar="N")] = 0
    """Ignored; old launchers pass it."""

    def run_on(self, data_dir: str) -> int:
        """Do what the flags say; `data_dir` stands in for --data."""
        from mobileone.ranks.distributed import distributed

        data = self.data or data_dir
        with distributed("auto") as ranks:
            if ranks.is_main:
                self._print_cost()
                if self.benchmark:
                    self._print_latency()
            if self.train:
                self._train(data, ranks)
            if self.test:
                self._test(data, ranks)
        return 0

    def _print_cost(self) -> None:
        cost = network_cost(VARIANTS[VARIANT], input_size=self.input_size)
        print(f"Number of parameters: {cost.params / 1e6:.3f}M ({cost.params})")
        print(
            f"Number of FLOPs: {cost.flops / 1e9:.6f}G ({cost.macs / 1e6:.3f}M multiply-accumulates)",
            flush=True,
        )

    def _print_latency(self) -> None:
        import torch

        from mobileone.model.create import create_model

        model = create_model(VARIANT, form="inference").eval()
        x = torch.zeros(1, 3, self.input_size, self.input_size)
        times = []
        with torch.inference_mode():
            for _ in range(BENCHMARK_WARMUP + BENCHMARK_RUNS):
                start = time.perf_counter()
                model(x)
                times.append(1e3 * (time.perf_counter() - start))
        times = sorted(times[BENCHMARK_WARMUP:])
        print(
            f"Latency: {statistics.median(times):.3f} ms (median of {len(times)}, "
            f"{times[0]:.3f} to {times[-1]:.3f}; PyTorch {torch.__version__} eager, fp32, CPU, "
            f"{torch.get_num_threads()} threads, 1×3×{self.input_size}×{self.input_size})",
            flush=True,
        )

    def _train(self, data: str, ranks: Distributed) -> None:
        from mobileone.training.config.recipe import reference
        from mobileone.training.run.fit import fit

        on_gpu = ranks.device.type == "cuda"
        config = reference().with_values(
            {
                "data": data,
                "epochs": self.epochs,
                "input_spec.size": self.input_size,
                "batch_size": self.batch_size or (GPU_BATCH_SIZE if on_gpu else CPU_BATCH_SIZE),
                "loading.num_workers": self.workers,
                "saving.weights_suffix": ".pt",
            }
        )
        if not self.resume:
            with told_by_flags():
                ranks.from_main(lambda: keep_earlier_run(WEIGHTS))
        step_log = StepLog(WEIGHTS)
        with told_by_flags():
            fit(config, run_dir=WEIGHTS, resume=self.resume, callbacks=[step_log] if ranks.is_main else [])
        if ranks.is_main:
            step_log.write()

    def _test(self, data: str, ranks: Distributed) -> None:
        from mobileone.evaluation.evaluate import evaluate
        from mobileone.inference.classifier import load_classifier

        best = WEIGHTS / "best.pt"
        if not best.exists():
            raise CheckpointError(f"{best} is not there; train first: bash main.sh N --train --data DIR")
        classifier = load_classifier(str(best), device=ranks.device, input_size=self.input_size)
        result = evaluate(classifier, data, num_workers=self.workers, dist=ranks)
        if ranks.is_main:
            print(("%10s" * 3) % ("acc@1", "acc@5", "loss"))
            print(("%10.3f" * 3) % (result.acc1, result.acc5, result.loss))


class StepLog(Callback):
    """Writes weights/step.csv, the port's log, one line an epoch, anew from metrics.csv each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_epoch_end(self, _: EpochRecord) -> None:
        """Write the file after an epoch."""
        self.write()

    def write(self) -> None:
        """Write the file."""
        with (self.folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        with (
            atomic_path(self.folder / "step.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, STEP_COLUMNS, lineterminator="\n")
            writer.writeheader()
            for row in rows:
                figures = {name: _three(row[name]) for name in STEP_COLUMNS[1:]}
                writer.writerow({"epoch": f"{int(row['epoch']):03d}", **figures})


def _three(figure: str) -> str:
    return figure and f"{float(figure):.3f}"


def keep_earlier_run(folder: Path) -> None:
    """Rename `folder` to folder.1, folder.2, … if it holds a run; the port overwrote it.

    Not if torchrun has started the ranks again: then it is this run.

    Raises:
        TrainingError: if another process is training there.
    """
    from mobileone.training.run.run_dir import RunDir

    files = RunDir(folder)
    if not folder.is_dir() or not any(folder.iterdir()) or files.is_of_this_launch():
        return
    number = 1
    while (kept := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    with files.lock():
        folder.rename(kept)
    print(f"the earlier run is kept in {kept}", file=sys.stderr)


def main(data_dir: str) -> int:
    """Run the reference command line; the exit code."""
    share_cores()

    def read(arguments: Sequence[str]) -> Reference:
        return tyro.cli(
            Reference, prog="main.py", args=list(arguments), config=(tyro.conf.FlagCreatePairsOff,)
        )

    def run() -> int:
        return guard(lambda: parse(read, sys.argv[1:], prog="main.py").run_on(data_dir), prog="main.py")

    return run_and_end(run)
