"""Claim (docs/deploy.md): what a photo costs the CPU on its way from a file to a class name, and the memory.

`mobileone predict FOLDER -o FILE.csv`, against a plain loop of Pillow, NumPy and ONNX Runtime and, where both
are installed, torchvision's transforms with timm's fused network; and against decoding and the network alone,
which is what cannot be saved, resizing apart from it. One thread for the network, whole processes from start
to end, CPU time (so that other work on the machine matters little), interleaved rounds. Modules are compiled,
as pip leaves them, and so is the C that resizes, as a first long run leaves it. Small photos are the given
ones; large ones are the same, enlarged to 1500×1000 and coded at quality 90. As many of both are read, so
that the start of a process has the same share.

Run: python -m benchmarks.predict_throughput --photos ../shared/data/imagenet_val_300 --weights WEIGHTS
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import PIL.Image

from mobileone.c_compiler import compiled_library
from mobileone.errors import MissingExtraError
from mobileone.images.resample_library import SOURCE, own_command
from mobileone.processor import processor_name
from mobileone.telemetry import ONNX_RUNTIME

LARGE = (1500, 1000)

PLAIN = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from PIL import Image

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
mean = np.array([0.485, 0.456, 0.406], np.float32)
std = np.array([0.229, 0.224, 0.225], np.float32)
with open(sys.argv[3], "w") as out:
    for path in sorted(Path(sys.argv[2]).iterdir()):
        image = Image.open(path).convert("RGB")
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
        best = np.argsort(-powers)[:5]
        print(path, *(f"{index} {powers[index] / powers.sum():.4f}" for index in best), sep=",", file=out)
"""

TIMM = """
import sys
import timm, torch, torchvision
from timm.utils.model import reparameterize_model

torch.set_num_threads(1)
view = torchvision.transforms.Compose([
    torchvision.transforms.Resize(256), torchvision.transforms.CenterCrop(224),
    torchvision.transforms.ToTensor(),
    torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
data = torchvision.datasets.ImageFolder(sys.argv[2] + "/..", view)
model = reparameterize_model(timm.create_model("mobileone_s0").eval())
with open(sys.argv[3], "w") as out, torch.inference_mode():
    for batch, _ in torch.utils.data.DataLoader(data, batch_size=32):
        print(model(batch).softmax(1).topk(5), file=out)
"""

DECODING = """
import sys
from mobileone.processor import share_cores
share_cores()
from mobileone.data.folder import image_files
from mobileone.images.decode import read_image
for path in image_files(sys.argv[2]):
    read_image(path).decode()
"""

VIEWS = """
import sys
from mobileone.processor import share_cores
share_cores()
from mobileone.data.folder import image_files
from mobileone.images.decode import read_image
from mobileone.images.eval_transform import EvalTransform
view = EvalTransform(size=224, resize_size=256)
for path in image_files(sys.argv[2]):
    view(read_image(path))
"""

NETWORK = """
import sys
from mobileone.processor import share_cores
share_cores()
from mobileone.backends.artifact import Artifact
import numpy as np
artifact = Artifact(sys.argv[1], threads=1)
pixels = np.zeros((1, 224, 224, 3), np.uint8)
for _ in range(int(sys.argv[4])):
    artifact.run(pixels)
"""

NOTHING = """
import sys
from mobileone.processor import share_cores
share_cores()
import numpy, PIL.Image, onnxruntime
"""


def cost(command: Sequence[str | Path]) -> tuple[float, float]:
    """CPU seconds, user and system, and peak MB of a process with its children."""
    child = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    complaint = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[:4]} failed: {complaint.decode(errors='replace')[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def enlarge(photos: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    large = [folder / f"{index:05d}.jpg" for index in range(len(photos))]
    for path, target in zip(photos, large, strict=True):
        with PIL.Image.open(path) as photo:
            photo.convert("RGB").resize(LARGE, PIL.Image.Resampling.BICUBIC).save(target, quality=90)
    return large


def link(photos: Sequence[Path], folder: Path, number: int) -> Path:
    """A folder of so many photos, which come again and again where there are fewer."""
    folder.mkdir(parents=True)
    for index in range(number):
        (folder / f"{index:05d}.jpg").symlink_to(photos[index % len(photos)].resolve())
    return folder


def candidates(artifact: Path, folder: Path, out: Path, number: int) -> dict[str, list[str | Path]]:
    """Commands by name."""
    python = sys.executable
    ours = [python, "-m", "mobileone", "predict", artifact, folder, "--threads", "1", "--force"]
    found: dict[str, list[str | Path]] = {
        "mobileone predict": [*ours, "-o", out / "ours.csv"],
        "  --scaled-decoding": [*ours, "-o", out / "scaled.csv", "--scaled-decoding"],
        "plain loop": [python, "-c", PLAIN, artifact, folder, out / "plain.csv"],
        "decoding alone": [python, "-c", DECODING, artifact, folder],
        "decoding, resizing": [python, "-c", VIEWS, artifact, folder],
        "network alone": [python, "-c", NETWORK, artifact, folder, "-", str(number)],
        "imports alone": [python, "-c", NOTHING],
    }
    if all(importlib.util.find_spec(name) for name in ("torchvision", "timm")):
        found["torchvision + timm"] = [python, "-c", TIMM, artifact, folder, out / "timm.txt"]
    return found


def compare(title: str, commands: dict[str, list[str | Path]], *, number: int, rounds: int) -> None:
    """Print medians with their spread, and ours over the others."""
    costs: dict[str, list[float]] = {name: [] for name in commands}
    peaks = dict.fromkeys(commands, 0.0)
    for _ in range(rounds):
        for name, command in commands.items():
            seconds, peak = cost(command)
            costs[name].append(1e3 * seconds / number)
            peaks[name] = max(peaks[name], peak)
    print(f"\n{title}, {number} photos, {rounds} rounds: CPU ms a photo, median (least to most), peak MB")
    medians = {name: statistics.median(values) for name, values in costs.items()}
    for name, values in costs.items():
        print(
            f"  {name:20} {medians[name]:7.2f} ({min(values):.2f} to {max(values):.2f}) {peaks[name]:6.0f} MB"
        )
    ours, scaled = medians["mobileone predict"], medians["  --scaled-decoding"]
    network = medians["network alone"] - medians["imports alone"]
    print(
        f"  over the plain loop {ours / medians['plain loop']:.2f}, with --scaled-decoding "
        f"{scaled / medians['plain loop']:.2f}; memory {peaks['mobileone predict'] / peaks['plain loop']:.2f}"
    )
    print(
        f"  over decoding and network {ours / (medians['decoding alone'] + network):.2f}, "
        f"over decoding, resizing and network {ours / (medians['decoding, resizing'] + network):.2f}"
    )
    if "torchvision + timm" in medians:
        print(f"  over torchvision + timm {ours / medians['torchvision + timm']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", required=True, type=Path, help="folder of JPEGs, some 227 px large")
    parser.add_argument("--weights", required=True, help="of mobileone_s0: anything load_model takes")
    parser.add_argument("--number", default=1000, type=int, help="photos a process; repeated where too few")
    parser.add_argument("--rounds", default=7, type=int)
    arguments = parser.parse_args()
    found = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    if not found:
        sys.exit(f"no JPEG below {arguments.photos}")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ[ONNX_RUNTIME] = "1"  # as we import it, so that the plain loop has no more to do
    photos = found[: arguments.number]
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("onnxruntime", "numpy", "pillow", "simplejpeg")
    )
    print(f"# {processor_name()}, Python {platform.python_version()}, {versions}")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        small = link(photos, out / "small" / "photos", arguments.number)
        large = link(enlarge(photos, out / "enlarged"), out / "large" / "photos", arguments.number)
        fp32, int8 = out / "s0.onnx", out / "s0_int8.onnx"
        ours = [sys.executable, "-m", "mobileone"]
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ |= {"PYTHONPYCACHEPREFIX": str(out / "modules"), "MOBILEONE_CACHE": str(out / "cache")}
        try:
            compiled_library(SOURCE, own_command())
        except MissingExtraError as error:
            print(f"Pillow resizes: {error}")
        # In processes of their own: a child's peak counts that of the process that it was started from.
        cost([*ours, "export", arguments.weights, "-o", fp32])
        cost([*ours, "quantize", arguments.weights, "--calib", arguments.photos, "-o", int8])
        first = link(photos, out / "first" / "photos", 1)
        for command in candidates(fp32, first, out, 1).values():
            cost(command)  # compiles the modules
        number, rounds = arguments.number, arguments.rounds
        for folder in (small, large):
            for artifact in (fp32, int8):
                title = f"{folder.parent.name} photos, {artifact.stem}"
                compare(title, candidates(artifact, folder, out, number), number=number, rounds=rounds)


if __name__ == "__main__":
    main()
