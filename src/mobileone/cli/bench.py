"""`mobileone bench`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mobileone.class_list import read_class_list
from mobileone.cli.arguments import NAMES, NUMBERS
from mobileone.cli.output import print_json
from mobileone.cli.target_file import require_drawing
from mobileone.cli.words import FILE, INPUT_SIZE
from mobileone.errors import ConfigError
from mobileone.input_spec import Size


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Every installed runtime side by side on this machine: latency, memory, size, accuracy; which to use.

    Example: mobileone bench mobileone_s0 --threads 1,2
    """

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL ...")]
    """MODEL, see mobileone --help, exported for every backend first; or exported files, run as they are."""
    backends: Annotated[tuple[str, ...], NAMES] = ("all",)
    """Formats, with commas: onnx,openvino,…; all is every installed one."""
    precisions: Annotated[tuple[str, ...], NAMES] = ("fp32",)
    """Arithmetic to try, with commas: fp32,fp16,bf16,int8."""
    threads: Annotated[tuple[int, ...], NUMBERS] = (1,)
    """Numbers of threads, with commas; each thread gets a core."""
    batch_sizes: Annotated[tuple[int, ...], NUMBERS] = (1,)
    """Images a run, with commas."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels; exported files have their own.
    Default: the model's."""
    calib: Annotated[str | None, arg(metavar="PHOTOS")] = None
    """Photos that int8 is calibrated on, as of `mobileone quantize`; without them int8 is for exported int8
    files alone."""
    eval: Annotated[str | None, arg(metavar="DATA")] = None
    """Images for accuracy, as of `mobileone test`: class folders, a list, shards, `digits`; or a flat folder
    for agreement alone."""
    eval_images: int = 1000
    """Of those, at most so many, by a seeded draw."""
    classes: Annotated[Path | None, FILE] = None
    """The models' class names in the order of their outputs, a line each or a JSON list; the names that the
    evaluation's folders have. Default: the models' own."""
    tolerance: float = 1.0
    """Points of top-1 (of agreement, without labels) that what is recommended may lose against PyTorch."""
    runs: int = 200
    """Timed runs at batch 1, after warm-up."""
    seconds: float = 10.0
    """Time for the timed runs of one candidate at larger batches."""
    device: str = "cpu"
    """cpu, cuda or cuda:N. On a GPU PyTorch, also as a CUDA graph, and .onnx files by CUDA and TensorRT."""
    baselines: str = "all"
    """PyTorch beside the artifacts: all or none."""
    seed: int = 0
    """Of the order and the input."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    json: bool = False
    """Print everything as JSON, every timed run among it."""
    png: Annotated[Path | None, arg(metavar="FILE")] = None
    """Draw accuracy against latency with the Pareto front; latency as bars without --eval."""
    html: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write everything as one page."""

    def run(self) -> int:
        if not self.models:
            raise ConfigError("bench needs at least one MODEL")
        for path, suffix in ((self.png, ".png"), (self.html, ".html")):
            if path is not None:
                require_drawing(path, suffix)  # minutes before it is written
        if self.baselines not in ("all", "none"):
            raise ConfigError(f"--baselines must be all or none, got {self.baselines!r}")
        from mobileone.benchmarking.bench import bench
        from mobileone.benchmarking.bench_report import bench_report

        quantizer = None
        if self.calib is not None:
            from mobileone.data.photos import unlabelled_photos
            from mobileone.quantization.quantize import Quantizer

            unlabelled_photos(self.calib)  # minutes before they are read
            quantizer = Quantizer(self.calib)
        result = bench(
            *self.models,
            backends=self.backends,
            precisions=self.precisions,  # type: ignore[arg-type]  # checked there
            threads=self.threads,
            batch_sizes=self.batch_sizes,
            input_size=self.input_size,
            class_names=None if self.classes is None else read_class_list(self.classes),
            eval_data=self.eval,
            eval_images=self.eval_images,
            tolerance=self.tolerance,
            runs=self.runs,
            budget_s=self.seconds,
            baselines=None if self.baselines == "all" else (),
            device=self.device,
            weights_key=self.weights_key,
            quantize=quantizer,
            seed=self.seed,
        )
        if self.png is not None:
            from mobileone.benchmarking.bench_plot import write_plot

            print(f"wrote {write_plot(result, self.png)}", file=sys.stderr)
        if self.html is not None:
            from mobileone.benchmarking.bench_page import write_page

            print(f"wrote {write_page(result, self.html)}", file=sys.stderr)
        if self.json:
            print_json(result.to_dict())
            if result.noise.warning:
                print(f"mobileone: warning: {result.noise.warning}", file=sys.stderr)
        else:
            print(bench_report(result))
        return 0
