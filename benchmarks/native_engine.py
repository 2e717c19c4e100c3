"""Claims of docs/native.md: the C engine beside every runtime's int8, on the same calibrated network.

Each figure is of processes of their own, a few runs each, candidate after candidate and round after round, so
that what disturbs the machine disturbs all. Images are bytes in, logits out. "warm" is one run after the
other; "cold" reads and writes 48 MB between runs, which throws the weights out of the caches. The spread is
from the lowest to the highest median of a round. The floor is what the processor's products alone would
take, padding included, at the rate that a loop of nothing else reaches in the same round: dot products, and
with AMX those of tiles. Beside each narrower set of kernels that oneDNN can be held to, OpenVINO is held to
it. On a processor whose best is AVX2 all candidates run with that, and there is nothing narrower to compare.

S0 has Apple's weights, calibrated on photos; the others have fresh weights, which do not matter for speed,
calibrated on seeded pictures. Cold caches, narrower kernels, the start and exactness are S0's. Exactness is
of the classifier's sums of products, which are in the logits, against those of quantization/simulate.py.

    python -u -m benchmarks.native_engine | tee benchmarks/results/native_engine.txt   # a quarter of an hour
    python -m benchmarks.native_engine --networks s0 --rounds 2 --runs 50 --photos 10
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dot_products import instruction_sets, products_per_second
from mobileone.processor import num_cores, processor_name

WEIGHTS = Path("../shared/data/apple_s0/mobileone_s0.pth.tar")
PHOTOS = Path("../shared/data/imagenet_val_300")
RUNTIMES = ("c", "openvino", "litert", "onnx", "executorch")
PACKAGES = ("openvino", "ai-edge-litert", "onnxruntime", "executorch", "torch")
COLD_BYTES = 48 * 2**20
WARM_UP = 20
ONEDNN_LIMITS = {"avx512vnni": "AVX512_CORE_VNNI", "avx2": "AVX2"}
"""What holds OpenVINO to the instructions of each of the engine's sets."""


@dataclass(frozen=True)
class Subject:
    """What one process measures."""

    name: str
    path: Path
    threads: int
    cold: bool = False
    kernels: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def measure(self, runs: int) -> dict[str, Any]:
        """In a process of its own."""
        arguments = {
            "path": str(self.path),
            "threads": self.threads,
            "cold": self.cold,
            "kernels": self.kernels,
            "runs": runs,
        }
        command = [sys.executable, "-m", "benchmarks.native_engine", "--worker", json.dumps(arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | self.environment, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self.name} failed: {done.stderr.strip().splitlines()[-1:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


def worker(arguments: dict[str, Any]) -> None:
    """Load an artifact, run it, print the seconds of each run."""
    from mobileone.backends.session import open_session

    started = time.perf_counter()
    session = open_session(arguments["path"], threads=arguments["threads"])
    loaded = time.perf_counter()
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    if arguments["kernels"]:
        session.network.use_kernels(arguments["kernels"])  # type: ignore[attr-defined]
    session.run(image)
    first = time.perf_counter()
    for _ in range(WARM_UP):
        session.run(image)
    junk = np.zeros(COLD_BYTES, np.uint8)
    times = []
    for _ in range(arguments["runs"]):
        if arguments["cold"]:
            junk += 1
        before = time.perf_counter()
        session.run(image)
        times.append(time.perf_counter() - before)
    print(json.dumps({"times": times, "load": loaded - started, "first": first - loaded}))


def artifacts(name: str, folder: Path, calibration: int) -> dict[str, Path]:
    """The network in int8 for every runtime that is installed, and as plain data; made once."""
    import torch

    import mobileone
    from mobileone.backends.fused_layers import layers_of
    from mobileone.backends.table import BACKENDS
    from mobileone.backends.writer import find_int8_writer
    from mobileone.errors import MissingExtraError
    from mobileone.exporting.parity import seeded_pictures
    from mobileone.exporting.pipeline import ready
    from mobileone.inference.classifier import logits_in_batches
    from mobileone.inference.torch_classifier import TorchClassifier
    from mobileone.quantization.calibration_images import calibration_images
    from mobileone.quantization.quantize import write_quantized
    from mobileone.quantization.quantize_layers import quantize_layers

    paths = {each: folder / f"{name}{BACKENDS[each].suffix}" for each in RUNTIMES}
    plain = folder / f"{name}.pickle"
    torch.manual_seed(0)
    trained = name == "s0" and WEIGHTS.exists() and PHOTOS.exists()
    model = mobileone.load_model(str(WEIGHTS) if trained else f"mobileone_{name}", form="inference")
    network = ready(model.eval())
    if plain.exists():
        quantized, images = pickle.loads(plain.read_bytes())
    else:
        if trained:
            images = calibration_images(PHOTOS, network.input_spec, num_images=calibration)
        else:
            images = seeded_pictures(network.input_spec, number=min(calibration, 8))
        quantized = quantize_layers(layers_of(network), images)
        plain.write_bytes(pickle.dumps((quantized, images)))
    expected = logits_in_batches(TorchClassifier(network), images)
    for each, path in list(paths.items()):
        try:
            find_int8_writer(each).check()
        except MissingExtraError as error:
            print(f"left out: {error}")
            del paths[each]
            continue
        if not path.exists():
            write_quantized(
                quantized, network, path, format=each, images=images, expected=expected, options={}
            )
    return paths


def floor_ms(path: Path, rates: dict[str, float]) -> float:
    """What the products of one image alone take, with all padding, as the engine issues them.

    Dot products of 64 bytes; those of matrices by tiles, where the processor has them.
    """
    from mobileone.backends.c.network_steps import plan_network, round_up, stem_groups

    quantized, _ = pickle.loads(path.with_suffix(".pickle").read_bytes())
    plan = plan_network(quantized, (224, 224))
    dots, tiles = 0, 0

    def matrix(pixels: int, outputs: int, groups: int) -> None:
        nonlocal dots, tiles
        if "tiles" in rates:
            tiles += -(-pixels // 16) * -(-outputs // 16) * -(-groups // 16)
        else:
            dots += pixels * -(-outputs // 16) * groups

    matrix(plan.stem_size[0] * plan.stem_size[1], plan.stem.out_channels, stem_groups(plan.stem))
    for step in plan.steps:
        pixels = step.target.height * step.target.width
        if step.depthwise is not None:
            dots += 12 * round_up(step.depthwise.in_channels, 64) // 64 * pixels  # 4 vectors, 3 columns
        if step.pointwise is not None:
            matrix(pixels, step.pointwise.out_channels, round_up(step.pointwise.in_channels, 4) // 4)
        if step.kind == "CLASSIFY":
            dots += round_up(quantized.layers.num_outputs, 16) // 16 * step.source.pixel // 4
    return 1e3 * (dots / rates["dots"] + (tiles / rates["tiles"] if tiles else 0))


def subjects(paths: dict[str, Path], threads: Sequence[int], *, closely: bool) -> Iterator[Subject]:
    """All candidates for one network, in the order of a round; closely: cold caches, narrower kernels."""
    for count in threads:
        for name, path in paths.items():
            yield Subject(f"{name} {count}", path, count)
    if not closely:
        return
    for name, path in paths.items():
        yield Subject(f"{name} cold", path, 1, cold=True)
    narrower = instruction_sets()[1:]  # the best are what the others have run with
    for kernels, limit in ONEDNN_LIMITS.items():
        if "openvino" in paths and kernels in narrower:
            yield Subject(
                f"openvino {kernels}", paths["openvino"], 1, environment={"ONEDNN_MAX_CPU_ISA": limit}
            )
    for kernels in narrower:
        yield Subject(f"c {kernels}", paths["c"], 1, kernels=kernels)


def compare(paths: dict[str, Path], threads: Sequence[int], *, rounds: int, runs: int, closely: bool) -> None:
    """Rounds of all candidates; a line each, and the ratios that are aimed at."""
    medians: dict[str, list[float]] = {}
    fastest: dict[str, float] = {}
    firsts: dict[str, list[float]] = {}
    floors = []
    everyone = list(subjects(paths, threads, closely=closely))
    for _ in range(rounds):
        rates = products_per_second()
        if rates:
            floors.append(floor_ms(paths["c"], rates))
        for subject in everyone:
            count = max(runs // 4, 10) if subject.cold or subject.kernels else runs
            got = subject.measure(count)
            medians.setdefault(subject.name, []).append(1e3 * statistics.median(got["times"]))
            fastest[subject.name] = min(fastest.get(subject.name, 1e9), 1e3 * min(got["times"]))
            firsts.setdefault(subject.name, []).append(1e3 * (got["load"] + got["first"]))
    print(f"{'':<18}{'median ms':>11}{'spread':>18}{'min':>9}{'load + first':>15}")
    for name, values in medians.items():
        middle, spread = statistics.median(values), f"{min(values):.3f} – {max(values):.3f}"
        print(f"{name:<18}{middle:>11.3f}{spread:>18}{fastest[name]:>9.3f}{min(firsts[name]):>15.1f}")
    middle = {name: statistics.median(values) for name, values in medians.items()}
    for suffix in [*map(str, threads), *(["cold"] if closely else [])]:
        others = [name for name in middle if name.endswith(f" {suffix}") and name != f"c {suffix}"]
        if others:
            best = min(others, key=lambda name: middle[name])
            print(ratio(f"c {suffix}", best, middle, fastest))
    for kernels in ONEDNN_LIMITS:
        if f"openvino {kernels}" in middle:
            print(ratio(f"c {kernels}", f"openvino {kernels}", middle, fastest))
    if floors:
        floor = min(floors)
        print(f"products alone: {floor:.3f} ms; the fastest c 1 is {fastest['c 1'] / floor:.2f} times that")


def ratio(mine: str, other: str, middle: dict[str, float], fastest: dict[str, float]) -> str:
    """One against the other, by medians and by the fastest runs."""
    return (
        f"{mine} against {other}: {middle[other] / middle[mine]:.2f} times as fast by medians, "
        f"{fastest[other] / fastest[mine]:.2f} by the fastest runs"
    )


def exactness(path: Path, photos: int) -> None:
    """Integers that differ from the simulator's, all kernels, every compiler that is there."""
    import shutil

    from mobileone.backends.c.session import CNetwork, prefix_of
    from mobileone.c_compiler import FLAGS, compiled_library
    from mobileone.data.folder import image_files
    from mobileone.data.photos import photo_pixels
    from mobileone.errors import ArtifactError
    from mobileone.quantization.simulate import simulate

    quantized, _ = pickle.loads(path.with_suffix(".pickle").read_bytes())
    files = image_files(PHOTOS)[:photos]
    images = photo_pixels(files, quantized.layers.input_spec)
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    classifier = quantized.layers.classifier
    unit = quantized.weights[classifier.name].scale * np.float64(quantized.activations["pooled"].step)

    def sums(logits: np.ndarray) -> np.ndarray:
        return np.rint((logits - classifier.bias) / unit)

    wanted = np.concatenate(
        [sums(simulate(quantized, some, head="static").numpy()) for some in images.split(10)]
    )
    for compiler in filter(shutil.which, ("gcc", "clang")):
        library = compiled_library(
            path, [compiler, *FLAGS, "-shared", "-fPIC"], header=path.with_suffix(".h")
        )
        network = CNetwork(library, prefix_of(path.with_suffix(".h")))
        for kernels in network.kernels():
            try:
                network.use_kernels(kernels)
            except ArtifactError as error:
                print(f"{compiler}, {kernels}: {error}")
                continue
            different = int((sums(network.logits(pixels)) != wanted).sum())
            print(f"{compiler}, {kernels}: {different} of {wanted.size} integers differ, {len(files)} photos")


def start(path: Path) -> None:
    """From the library's load to the first logits, without Python, and memory."""
    from mobileone.c_compiler import FLAGS, compile_c, find_compiler

    program = """
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}
int main(int c, char **v) {
  static uint8_t image[224 * 224 * 3];
  static float logits[4096];
  const double begin = now();
  void *net = dlopen(v[c - 1], RTLD_NOW);
  size_t (*workspace)(void) = (size_t (*)(void))dlsym(net, "mobileone_net_workspace");
  int (*run)(const uint8_t *, float *, void *) =
      (int (*)(const uint8_t *, float *, void *))dlsym(net, "mobileone_net_run");
  const int error = run(image, logits, aligned_alloc(64, workspace()));
  const double end = now();
  char line[128];
  long most = 0; /* since this program began; rusage counts what was there before, too */
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %ld", &most);
  printf("%d %.3f %ld %zu\\n", error, 1e3 * (end - begin), most, workspace());
}
"""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "start.c", Path(folder) / "net.so"
        source.write_text(program, encoding="utf-8")
        command = [*find_compiler(), *FLAGS[1:]]
        compile_c([*command, "-shared", "-fPIC"], path, library)
        compile_c([*command, "-ldl"], source, Path(folder) / "start")
        lines = [
            subprocess.run(
                [str(Path(folder) / "start"), str(library)], capture_output=True, text=True, check=True
            ).stdout.split()
            for _ in range(20)
        ]
    times = sorted(float(line[1]) for line in lines)
    print(
        f"load to first logits: min {times[0]:.2f}, median {times[10]:.2f} ms of 20 processes; workspace "
        f"{int(lines[0][3]) / 2**20:.2f} MiB; most memory of the process {int(lines[0][2]) / 1024:.1f} MiB"
    )


def header() -> str:
    """Machine, versions, date."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    today = datetime.date.today().isoformat()
    machine = f"{processor_name()} ({', '.join(instruction_sets())}), {num_cores()} cores, load {load:.1f}"
    return f"{machine}; {', '.join(found)}; {today}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default="s0,s1,s2,s3,s4")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--runs", type=int, default=200, help="of a process")
    parser.add_argument("--photos", type=int, default=300, help="for exactness, S0; 0 leaves it out")
    parser.add_argument("--calibration", type=int, default=60, help="photos, S0")
    parser.add_argument("--folder", type=Path, help="keeps artifacts for the next time")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(json.loads(given.worker))
        return
    print(header())
    threads = [int(each) for each in given.threads.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.networks.split(","):
            print(f"\n{name}, 224 px, batch 1, {given.rounds} rounds of {given.runs} runs")
            paths = artifacts(name, folder, given.calibration)
            compare(paths, threads, rounds=given.rounds, runs=given.runs, closely=name == "s0")
            if name == "s0":
                start(paths["c"])
                if given.photos and PHOTOS.exists():
                    exactness(paths["c"], given.photos)


if __name__ == "__main__":
    main()
