"""Claim (docs/fault_tolerance.md, capacity plan): what a training image costs the CPU that prepares it.

ImageNet photos (227 px crops, enlarged to the usual 500×375 and coded at quality 92) go through what a
loader worker does: read the file, decode, random crop, resize to 224, flip; with AutoAugment as well. CPU
time of one thread, so other processes matter little.

Run: python -m benchmarks.decode_cost --photos ../shared/data/imagenet_val_300
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import PIL.Image
import torch

from mobileone.data.augment import TrainTransform
from mobileone.data.requests import seeded_generator
from mobileone.images.decode import read_image

SIZE = (500, 375)
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--number", default=100, type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = sorted(arguments.photos.rglob("*.JPEG"))[:: max(1, 300 // arguments.number)][: arguments.number]
    if not found:
        sys.exit(f"no .JPEG below {arguments.photos}")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{index}.jpg" for index in range(len(found))]
        for source, target in zip(found, files, strict=True):
            PIL.Image.open(source).convert("RGB").resize(SIZE).save(target, quality=92)
        mean_bytes = statistics.mean(path.stat().st_size for path in files)
        print(
            f"# torch {torch.__version__}, {len(files)} photos of {SIZE[0]}×{SIZE[1]} px, "
            f"{mean_bytes:,.0f} bytes each"
        )
        for name, strength in (("crop and flip (S0, S1)", 0.0), ("with AutoAugment (S2–S4)", 1.0)):
            transform = TrainTransform(size=224, auto_augment=strength)
            costs = []
            for epoch in range(ROUNDS):
                started = time.process_time()
                for index, path in enumerate(files):
                    transform(read_image(path), seeded_generator(0, epoch, index))
                costs.append(1e3 * (time.process_time() - started) / len(files))
            print(
                f"{name:>25}: {statistics.median(costs):.2f} ms of CPU an image "
                f"({min(costs):.2f} to {max(costs):.2f} over {ROUNDS} rounds), "
                f"{1e3 / statistics.median(costs):,.0f} images/s a core"
            )


if __name__ == "__main__":
    main()
