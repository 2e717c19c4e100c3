"""Claims of docs/data.md: how many training views a core makes a second, and where the time goes.

A view is the whole training transform of ImageNet: a JPEG in memory, decoded, a random crop of it resized to
224 px (bilinear or bicubic, drawn), mirrored by chance, put into a batch of 32. Compared, one thread each, on
the same files and, view by view, the same crops:

- ours:   the package's pipeline; uint8, channels last, as the loader gives it (normalised on the device)
- ours, normalised: the same, normalised to float32 on this core: all the work, as if there were no device
- ours, 256: the same on files that `mobileone shard --resize-short 256` makes of these (341×256, quality 92)
- pillow: what the reference port's workers do: Pillow decodes, cuts, resizes and mirrors; float32 in 0..1,
  normalised, stacked
- pillow, uint8: the same without the conversion to float and the normalisation
- opencv: OpenCV decodes, cuts, resizes (without antialiasing: its linear filter aliases) and mirrors; uint8
- kornia: kornia-rs decodes (libjpeg-turbo), kornia cuts, resizes (antialiased) and mirrors float32 tensors

The pictures are photos (shared/data beside the checkout; else synthetic ones), enlarged to 500×375, once
smooth and once with grain that gives them about the bytes of ImageNet's own, coded at quality 90, 4:2:0.

    python -m benchmarks.data_loading                # all of it
    python -m benchmarks.data_loading --only views   # or: stages, workers
"""

import argparse
import datetime
import io
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import PIL.Image
import simplejpeg
import torch
from torch import Tensor

from benchmarks.online_training import processor
from mobileone.data.augment import Box, TrainTransform, draw_crop
from mobileone.data.loader import BatchLoader, train_loader
from mobileone.data.pixels import normalize, to_tensor
from mobileone.data.requests import seeded_generator
from mobileone.data.resize import resize
from mobileone.data.shards.write import ShardSettings, shard_content
from mobileone.images.decode import EncodedImage
from mobileone.input_spec import InputSpec

PHOTOS = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "imagenet_val_300"
SIZE, BATCH, NUM_FILES = 224, 32, 96
GRAIN = 12  # standard deviation of the grain, grey levels
FILTERS = ("bilinear", "bicubic")
SPEC = InputSpec(size=SIZE)
Pipeline = Callable[[int, list[bytes]], Tensor]


def pictures(grain: float) -> list[bytes]:
    """JPEGs of 500×375, one in three upright."""
    generator = np.random.default_rng(0)
    paths = sorted(PHOTOS.glob("*/*.JPEG"))[:NUM_FILES]
    files = []
    for index in range(NUM_FILES):
        if paths:
            photo = PIL.Image.open(paths[index % len(paths)]).convert("RGB")
        else:
            photo = PIL.Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        size = (375, 500) if index % 3 == 0 else (500, 375)
        pixels = np.asarray(photo.resize(size, PIL.Image.Resampling.BICUBIC), dtype=np.float64)
        pixels = pixels + generator.normal(0, grain, (*pixels.shape[:2], 1))
        file = io.BytesIO()
        PIL.Image.fromarray(np.rint(pixels.clip(0, 255)).astype(np.uint8)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def draw(index: int, height: int, width: int) -> tuple[Box, str, bool]:
    """Crop, filter and flip of a view, in the order in which `TrainTransform` draws them."""
    generator = seeded_generator(0, 0, index)
    box = draw_crop(height, width, generator=generator)
    choice, flip = torch.rand(2, dtype=torch.float64, generator=generator).tolist()
    return box, FILTERS[int(choice * 2)], flip < 0.5


def ours(start: int, files: list[bytes]) -> Tensor:
    transform = TrainTransform(size=SIZE, interpolation=FILTERS)
    views = [
        transform(EncodedImage("", data), seeded_generator(0, 0, start + i)) for i, data in enumerate(files)
    ]
    return torch.stack([view.permute(1, 2, 0) for view in views]).permute(0, 3, 1, 2)


def ours_normalised(start: int, files: list[bytes]) -> Tensor:
    return normalize(ours(start, files), SPEC)


def ours_resized(files: list[bytes]) -> Pipeline:
    settings = ShardSettings(resize_short=256)
    small = {data: shard_content(EncodedImage("a.jpg", data), settings)[0] for data in files}
    kilobytes = statistics.mean(len(data) for data in small.values()) / 1000
    print(f"(resized to a short side of 256 pixels they have {kilobytes:.0f} kB on average)")
    return lambda start, batch: ours(start, [small[data] for data in batch])


def pillow_view(index: int, data: bytes) -> Tensor:
    image = PIL.Image.open(io.BytesIO(data)).convert("RGB")
    box, name, flip = draw(index, image.height, image.width)
    cut = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    view = cut.resize((SIZE, SIZE), getattr(PIL.Image.Resampling, name.upper()))
    if flip:
        view = view.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(view)).permute(2, 0, 1).contiguous()


def pillow(start: int, files: list[bytes]) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    views = [pillow_view(start + i, data).float().div(255) for i, data in enumerate(files)]
    return torch.stack([view.clone().sub_(mean).div_(std) for view in views])


def pillow_uint8(start: int, files: list[bytes]) -> Tensor:
    return torch.stack([pillow_view(start + i, data) for i, data in enumerate(files)])


def opencv() -> Pipeline:
    import cv2

    cv2.setNumThreads(1)
    filters = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}

    def view(index: int, data: bytes) -> Tensor:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        box, name, flip = draw(index, *image.shape[:2])
        cut = image[box.top : box.top + box.height, box.left : box.left + box.width]
        pixels = cv2.resize(cut, (SIZE, SIZE), interpolation=filters[name])
        return torch.from_numpy(cv2.flip(pixels, 1) if flip else pixels)

    return lambda start, files: torch.stack([view(start + i, data) for i, data in enumerate(files)]).permute(
        0, 3, 1, 2
    )


def kornia() -> Pipeline:
    import kornia_rs
    from kornia.geometry import hflip
    from kornia.geometry import resize as kornia_resize

    def view(index: int, data: bytes) -> Tensor:
        image = torch.from_numpy(kornia_rs.io.decode_image_jpegturbo(data, "rgb"))
        box, name, flip = draw(index, *image.shape[:2])
        cut = image[box.top : box.top + box.height, box.left : box.left + box.width]
        pixels = cut.permute(2, 0, 1)[None].float().div(255)
        pixels = kornia_resize(pixels, (SIZE, SIZE), interpolation=name, antialias=True)
        return hflip(pixels)[0] if flip else pixels[0]

    return lambda start, files: torch.stack([view(start + i, data) for i, data in enumerate(files)])


def pipelines(files: list[bytes]) -> dict[str, Pipeline]:
    found: dict[str, Pipeline] = {"ours": ours, "ours, normalised": ours_normalised}
    found |= {"ours, 256": ours_resized(files)}
    found |= {"pillow": pillow, "pillow, uint8": pillow_uint8}
    for make in (opencv, kornia):
        try:
            found[make.__name__] = make()
        except ImportError as error:
            print(f"{make.__name__} is left out: {error}")
    return found


def quartiles(values: list[float], digits: int) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def print_views(files: list[bytes], rounds: int) -> None:
    known = pipelines(files)
    batches = [(start, files[start : start + BATCH]) for start in range(0, NUM_FILES, BATCH)]
    rates: dict[str, list[float]] = {name: [] for name in known}
    for turn in range(-1, rounds):  # one to warm up
        for name, make in known.items():
            started = time.process_time()
            for start, batch in batches:
                make(start, batch)
            if turn >= 0:
                rates[name].append(NUM_FILES / (time.process_time() - started))
    print(f"{'pipeline':>16}  views a second of CPU time: median [quartiles], best; n = {rounds}")
    for name, values in rates.items():
        print(f"{name:>16}  {quartiles(values, 0)}, {max(values):.0f}")
    pairs = [("ours", name) for name in list(known)[1:]] + [("ours, normalised", "pillow")]
    for one, other in pairs:
        ratios = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
        best = max(rates[one]) / max(rates[other])
        print(f"{one} ÷ {other}: {quartiles(ratios, 2)}; of the best {best:.2f}", flush=True)


def print_stages(files: list[bytes], rounds: int) -> None:
    """Microseconds a view of each stage of ours, best of the rounds."""
    stages = ("draw", "decode", "crop and resize", "flip", "batch", "normalise", "transfer")
    best = dict.fromkeys(stages, float("inf"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for _ in range(rounds):
        times = dict.fromkeys(stages, 0.0)

        def lap(stage: str, work: Callable[[], Tensor], times: dict[str, float] = times) -> Tensor:
            started = time.process_time()
            result = work()
            times[stage] += time.process_time() - started
            return result

        views = []
        for index, data in enumerate(files):
            started = time.process_time()
            image = EncodedImage("", data)
            box, name, flip = draw(index, image.height, image.width)
            times["draw"] += time.process_time() - started
            least = (math.ceil(SIZE * image.height / box.height), math.ceil(SIZE * image.width / box.width))
            pixels = lap("decode", lambda: to_tensor(image.decode(min_height=least[0], min_width=least[1])))  # noqa: B023
            cut = pixels[:, box.top : box.top + box.height, box.left : box.left + box.width]
            view = lap("crop and resize", lambda: resize(cut, (SIZE, SIZE), interpolation=name))  # noqa: B023
            views.append(lap("flip", lambda: view.flip(-1)) if flip else view)  # noqa: B023
        batch = lap("batch", lambda: torch.stack([view.permute(1, 2, 0) for view in views]))  # noqa: B023
        lap("transfer", lambda: batch.to(device, copy=True))  # noqa: B023
        for part in batch.permute(0, 3, 1, 2).split(BATCH):
            lap("normalise", lambda: normalize(part, SPEC))  # noqa: B023
        best = {stage: min(best[stage], times[stage]) for stage in stages}
    total = sum(best.values())
    print(
        f"where the time goes, µs a view of CPU time, best of {rounds} "
        f"(transfer: a copy to {device}; normalise: on this core, where no device does it):"
    )
    for stage, seconds in best.items():
        print(f"{stage:>16}  {1e6 * seconds / NUM_FILES:7.1f}  {100 * seconds / total:5.1f} %")


class Repeated:
    """The files, over and over, as an `ImageSource`."""

    classes = ("a",)

    def __init__(self, files: list[bytes], length: int) -> None:
        self.files, self.labels = files, np.zeros(length, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> EncodedImage:
        return EncodedImage(str(index), self.files[index % len(self.files)])


def cpu_seconds(loader: BatchLoader) -> float:
    """CPU time so far of this process and the loader's workers."""
    iterator = loader._loader._iterator
    pids = [worker.pid for worker in getattr(iterator, "_workers", [])]
    # Fields 14 and 15 of a process's stat, after its name in parentheses: ticks in user and system mode.
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    ticks = sum(int(own[11]) + int(own[12]) for own in fields)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def print_workers(files: list[bytes], rounds: int) -> None:
    """Images a second through the whole loader, workers warm: of wall time, of all processes' CPU time."""
    source = Repeated(files, 4 * NUM_FILES)
    transform = TrainTransform(size=SIZE, interpolation=FILTERS)
    loaders = {
        workers: train_loader(source, transform, batch_size=BATCH, seed=0, num_workers=workers)
        for workers in (0, 1, 2)
    }
    wall: dict[int, list[float]] = {workers: [] for workers in loaders}
    cpu: dict[int, list[float]] = {workers: [] for workers in loaders}
    for turn in range(-1, rounds):
        for workers, loader in loaders.items():
            started, used = time.perf_counter(), cpu_seconds(loader)
            count = sum(len(batch) for batch in loader)
            if turn >= 0:
                wall[workers].append(count / (time.perf_counter() - started))
                cpu[workers].append(count / (cpu_seconds(loader) - used))
    print(f"workers  images a second of wall time, of CPU time: median [quartiles]; n = {rounds}")
    for workers, loader in loaders.items():
        loader.close()
        print(f"{workers:>7}  {quartiles(wall[workers], 0)}   {quartiles(cpu[workers], 0)}")
    for name, rates in (("wall", wall), ("CPU", cpu)):
        ratios = [b / a for a, b in zip(rates[1], rates[2], strict=True)]
        print(f"2 workers ÷ 1, of {name} time: {quartiles(ratios, 2)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", default=15, type=int)
    parser.add_argument("--only", choices=("views", "stages", "workers"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"# {datetime.date.today()}, {processor()}, torch {torch.__version__}, Pillow {PIL.__version__}, "
        f"simplejpeg {simplejpeg.__version__}, Python {platform.python_version()}"
    )
    for kind, grain in (("smooth", 0), ("with grain", GRAIN)):
        files = pictures(grain)
        kilobytes = statistics.mean(len(data) for data in files) / 1000
        source = "photos" if PHOTOS.is_dir() else "synthetic pictures"
        print(f"\n# {NUM_FILES} {source}, {kind}: 500×375, {kilobytes:.0f} kB on average", flush=True)
        if arguments.only in (None, "views"):
            print_views(files, arguments.rounds)
        if arguments.only in (None, "stages"):
            print_stages(files, arguments.rounds)
        if arguments.only in (None, "workers"):
            print_workers(files, max(3, arguments.rounds // 3))


if __name__ == "__main__":
    main()
