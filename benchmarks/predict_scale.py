"""Claim (docs/scale.md): what prediction in parts costs a photo, and what a second process adds.

`mobileone predict MODEL SHARDS -o FOLDER` with one process and with two, against a plain loop of tarfile,
Pillow, NumPy and ONNX Runtime over the same shards, alone and twice side by side, each with half of them.
Every process has a core of its own, one thread for the network and one that decodes. Whole processes from
start to end, interleaved rounds: images a second by the clock, and CPU milliseconds a photo, in which other
work on the machine matters less. The photos are the given ones, repeated; the network is S0.

Run: python -m benchmarks.predict_scale --photos ../shared/data/imagenet_val_300 --weights WEIGHTS
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from mobileone.processor import processor_name, usable_cores

PLAIN = """
import io, sys, tarfile
import numpy as np
import onnxruntime
from PIL import Image

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
mean = np.array([0.485, 0.456, 0.406], np.float32)
std = np.array([0.229, 0.224, 0.225], np.float32)
with open(sys.argv[2], "w") as out:
    for path in sys.argv[3:]:
        with tarfile.open(path) as tar:
            for member in tar:
                image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                scale = 256 / min(image.size)
                image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
                left, top = (image.width - 224) // 2, (image.height - 224) // 2
                pixels = np.asarray(image.crop((left, top, left + 224, top + 224)))
                if "uint8" in entry.type:
                    batch = pixels[None]
                else:
                    values = (pixels.astype(np.float32) / 255 - mean) / std
                    batch = np.ascontiguousarray(values.transpose(2, 0, 1)[None])
                logits = session.run(None, {entry.name: batch})[0][0]
                powers = np.exp(logits - logits.max())
                powers /= powers.sum()
                best = np.argsort(-powers)[:5]
                print(member.name, *(f"{index} {powers[index]:.4f}" for index in best), file=out)
"""


def write_shards(photos: Sequence[Path], folder: Path, *, shard_size: int) -> list[Path]:
    """Tar files of the photos, without indexes."""
    shards = []
    for start in range(0, len(photos), shard_size):
        shards.append(folder / f"{start // shard_size:03d}.tar")
        with tarfile.open(shards[-1], "w") as tar:
            for number, path in enumerate(photos[start : start + shard_size], start=start):
                content = path.read_bytes()
                info = tarfile.TarInfo(f"{number:06d}.jpg")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return shards


def run_side_by_side(
    commands: Sequence[Sequence[str | Path]], cores: Sequence[int], under: Sequence[str]
) -> tuple[float, float]:
    """Seconds by the clock until the last has ended, and CPU seconds of all."""
    started = time.perf_counter()
    children = []
    for rank, (command, core) in enumerate(zip(commands, cores, strict=False)):
        ranks = {"RANK": str(rank), "WORLD_SIZE": str(len(commands)), "OMP_NUM_THREADS": "1"}
        pinned = [*under, "taskset", "-c", str(core), *command]
        children.append(
            subprocess.Popen(
                [str(word) for word in pinned],
                env=os.environ | ranks,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
    cpu = 0.0
    for child in children:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{child.args} failed")
        cpu += usage.ru_utime + usage.ru_stime
    return time.perf_counter() - started, cpu


def measure(
    artifact: Path, shards: Sequence[Path], out: Path, *, number: int, rounds: int, under: Sequence[str]
) -> None:
    """Print both sides, with one process and with two."""
    ours = [sys.executable, "-m", "mobileone", "predict", artifact, *shards, "--threads", "1"]
    ours += ["--workers", "1", "-o", out / "parts"]
    plain = [sys.executable, "-c", PLAIN, artifact]
    cores = usable_cores()
    runs = {
        "plain loop, 1": [[*plain, out / "0.txt", *shards]],
        "mobileone, 1": [ours],
        "plain loop, 2": [[*plain, out / f"{n}.txt", *shards[n::2]] for n in range(2)],
        "mobileone, 2": [ours, ours],
    }
    if len(cores) < 2:
        runs = {name: commands for name, commands in runs.items() if len(commands) == 1}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    costs: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, commands in runs.items():
            shutil.rmtree(out / "parts", ignore_errors=True)
            seconds, cpu = run_side_by_side(commands, cores, under)
            rates[name].append(number / seconds)
            costs[name].append(1e3 * cpu / number)
    print(f"\n{artifact.stem}, {number} photos in {len(shards)} shards, {rounds} rounds")
    for name in runs:
        rate, cost = rates[name], costs[name]
        print(
            f"  {name:14} images/s {statistics.median(rate):6.1f} ({min(rate):.1f} to {max(rate):.1f})   "
            f"CPU ms a photo {statistics.median(cost):5.2f} ({min(cost):.2f} to {max(cost):.2f})"
        )
    for count in (1, 2):
        if f"mobileone, {count}" in runs:
            ratio = [
                a / b
                for a, b in zip(rates[f"mobileone, {count}"], rates[f"plain loop, {count}"], strict=True)
            ]
            print(f"  {count}: {statistics.median(ratio):.2f} times the plain loop's images/s")
    if "mobileone, 2" in runs:
        for side in ("mobileone", "plain loop"):
            ratio = [a / b for a, b in zip(rates[f"{side}, 2"], rates[f"{side}, 1"], strict=True)]
            print(f"  {side}: two processes {statistics.median(ratio):.2f} times one")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", required=True, type=Path, help="folder of JPEGs")
    parser.add_argument("--weights", required=True, help="of mobileone_s0: anything load_model takes")
    parser.add_argument("--number", default=1200, type=int, help="photos; repeated where too few")
    parser.add_argument("--shard-size", default=100, type=int)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--int8", action="store_true", help="the int8 file too")
    parser.add_argument(
        "--under", default="", help="a command to start each process with, such as 'chrt -f 50'"
    )
    parser.add_argument("--note", default="", help="what else ran on the machine, printed as it is")
    arguments = parser.parse_args()
    found = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    if not found:
        sys.exit(f"no JPEG below {arguments.photos}")
    photos = [found[index % len(found)] for index in range(arguments.number)]
    names = ("onnxruntime", "numpy", "pillow", "simplejpeg")
    print(f"# {processor_name()}, Python {platform.python_version()}, cores {len(usable_cores())}")
    print("# " + ", ".join(f"{name} {version(name)}" for name in names))
    if arguments.note:
        print(f"# {arguments.note}")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        shards = write_shards(photos, out, shard_size=arguments.shard_size)
        ours = [sys.executable, "-m", "mobileone"]
        artifacts = [out / "s0.onnx"]
        subprocess.run(
            [*ours, "export", arguments.weights, "-o", artifacts[0]], check=True, stdout=subprocess.DEVNULL
        )
        if arguments.int8:
            artifacts.append(out / "s0_int8.onnx")
            quantize = ["quantize", arguments.weights, "--calib", arguments.photos, "-o", artifacts[1]]
            subprocess.run([*ours, *quantize], check=True, stdout=subprocess.DEVNULL)
        for artifact in artifacts:
            measure(
                artifact,
                shards,
                out,
                number=len(photos),
                rounds=arguments.rounds,
                under=arguments.under.split(),
            )


if __name__ == "__main__":
    main()
