"""Claim (docs/fault_tolerance.md): no file, however damaged, hangs a reader, runs code or eats the memory.

Real files (models in every format, resume files, photos in every image format, shards) are mutated at
random: bits and bytes changed, pieces cut, doubled, moved, taken from another file, lengths replaced by
huge ones. Each mutant is read. Allowed is a result or a MobileOneError that names the file; anything else is
printed and counted: another exception, a longer wait than the limit, code that ran (an audit hook watches),
memory over the bound.

Run: python -m benchmarks.fuzz_files --inputs 20000
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import PIL.Image
import torch

from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import load_state, save_model, save_state
from mobileone.data.shards.index import ShardIndex
from mobileone.data.shards.shard_source import open_shards
from mobileone.data.shards.tar import index_tar
from mobileone.data.shards.write import write_shards
from mobileone.errors import MobileOneError
from mobileone.images.decode import read_image
from mobileone.images.eval_transform import EvalTransform
from mobileone.model.create import create_model
from mobileone.variants import Variant

TINY = Variant("tiny", (8, 8, 16, 16), num_conv_branches=2, depths=(1, 1, 1, 1))
SECONDS = 10.0
CHECKPOINT_BYTES = 256 * 2**20
IMAGE_BYTES = 6 * 2**30
# What a reader of data has no business with, besides running code and writing files.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.fork", "socket.connect")
HUGE = (2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1, 0)


@dataclass(frozen=True)
class Target:
    """A reader, and a real file for it.

    Attributes:
        name: for the report.
        content: the unharmed file.
        suffix: of the file's name.
        read: reads a path to the end.
        max_bytes: bound of its memory.
    """

    name: str
    content: bytes
    suffix: str
    read: Callable[[Path], object]
    max_bytes: int = CHECKPOINT_BYTES


def mutate(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """A copy with one to four random changes."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(len(data) + 1)
        length = chance.choice((1, 2, 4, 8, 64, 1024))
        kind = chance.randrange(8)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place : place + length] = chance.randbytes(len(data[place : place + length]))
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            data[place:place] = data[place : place + length] * chance.choice((1, 2, 100))
        elif kind == 5:
            start = chance.randrange(len(other))
            data[place : place + length] = other[start : start + length]
        elif kind == 6:
            number, order = chance.choice(HUGE), chance.choice("<>")
            size = chance.choice((2, 4, 8))
            packed = (number & (2 ** (8 * size) - 1)).to_bytes(size, "little" if order == "<" else "big")
            data[place : place + size] = packed
        elif data[: len(data) // 16]:  # headers are small and matter most
            data[chance.randrange(min(len(data), 256))] = chance.randrange(256)
    return bytes(data)


class Watch:
    """Counts what readers must not do, by an audit hook, which cannot be removed: one a process."""

    def __init__(self) -> None:
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        # Libraries that a reader first needs on the way may be imported from where they are installed.
        runs = event == "exec" and not arguments[0].co_filename.startswith((sys.prefix, sys.base_prefix))
        if event in FORBIDDEN or writes or runs:
            self.seen.append(f"{event} {arguments!r:.80}")

    @contextmanager
    def on(self) -> Iterator[None]:
        self.active = True
        try:
            yield
        finally:
            self.active = False


def _too_slow(_: int, __: FrameType | None) -> None:
    raise TimeoutError


def try_one(target: Target, path: Path, watch: Watch) -> str:
    """Read one file: `"read"`, `"refused"`, or what went wrong."""
    watch.seen.clear()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with watch.on():
            target.read(path)
        verdict = "read"
    except MobileOneError as error:
        text = str(error)
        verdict = "refused" if path.name in text and "\n" not in text else f"a message without a name: {text}"
        if "allocate memory" in text or "MemoryError" in text:
            verdict = f"memory ran out: {text}"
    except BaseException as error:  # whatever it is, it is what is looked for
        verdict = f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return f"it did {watch.seen[0]}" if watch.seen else verdict


def _peak_bytes() -> int:
    """The largest address space this process has had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmPeak:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmPeak in /proc/self/status")


def checkpoints(folder: Path) -> list[Target]:
    """Our model files, every foreign format, old and new containers, and a resume file."""
    torch.manual_seed(0)
    model = create_model(TINY, num_classes=5, class_names=list("abcde")).eval()
    source = save_model(model, folder / "ours.safetensors", extra={"epoch": 3})
    files = {"safetensors": source, "pt": save_model(model, folder / "ours.pt")}
    for kind in ("apple", "mmpretrain", "reference"):
        files[kind] = folder / f"{kind}.pth.tar"
        convert(source, files[kind], to=kind)
    legacy = io.BytesIO()
    torch.save({"state_dict": model.state_dict()}, legacy, _use_new_zipfile_serialization=False)
    targets = [
        Target(name, path.read_bytes(), ".bin", lambda path: (describe(path), load_model(path)))
        for name, path in files.items()
    ]
    targets.append(Target("legacy", legacy.getvalue(), ".pth", load_model))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    state = {
        "network": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": [torch.get_rng_state(), random.Random(0).getstate()],
        "losses": [0.5] * 50,
        "records": [{"epoch": 1, "train_loss": 0.1, "acc1": None}],
    }
    saved = save_state(state, folder / "state.pt")
    return [*targets, Target("resume file", saved.read_bytes(), ".pt", load_state)]


def images(folder: Path | None) -> list[Target]:
    """A photo (noise, if there is none) in every format and some modes."""
    files = sorted(folder.rglob("*.JPEG"))[:3] if folder else []
    noise = np.random.default_rng(0).integers(0, 256, (48, 56, 3), dtype=np.uint8)
    photo = PIL.Image.open(files[0]).convert("RGB") if files else PIL.Image.fromarray(noise)
    photo = photo.resize((56, 48))
    transform = EvalTransform(size=32, resize_size=36)

    def read(path: Path) -> object:
        return transform(read_image(path))

    targets = [Target("JPEG photo", file.read_bytes(), ".jpg", read, IMAGE_BYTES) for file in files[:1]]
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "I;16", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "F", {}),
        ("PPM", "RGB", {}),
    ]
    for kind, mode, options in kinds:
        buffer = io.BytesIO()
        photo.convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, kind, **options)
        targets.append(Target(f"{kind} {mode}", buffer.getvalue(), f".{kind.lower()}", read, IMAGE_BYTES))
    return targets


def shards(folder: Path) -> list[Target]:
    """A tar file to index, its index, and a tar file to read by the index of the unharmed one."""
    for label in ("cat", "dog"):
        (folder / "photos" / label).mkdir(parents=True)
        for index in range(4):
            pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(folder / "photos" / label / f"{index}.jpg")
    write_shards(folder / "photos", folder / "shards", num_workers=0)
    tar, index = (folder / "shards" / f"val-000000.{suffix}" for suffix in ("tar", "json"))
    (folder / "mutant-shard.json").write_bytes(index.read_bytes())
    transform = EvalTransform(size=32, resize_size=36)

    def read(path: Path) -> object:
        source = open_shards(path, split="val")
        return [transform(source.read(index)) for index in range(len(source))]

    return [
        Target(
            "shard",
            tar.read_bytes(),
            ".tar",
            lambda path: index_tar(path, split="val", number=0, classes=("cat", "dog")),
        ),
        Target(
            "shard index",
            index.read_bytes(),
            ".json",
            lambda path: ShardIndex.from_json(path.read_bytes(), name=path.name),
        ),
        Target("shard images", tar.read_bytes(), "-shard.tar", read, IMAGE_BYTES),
    ]


def fuzz(targets: list[Target], *, inputs: int, seed: int, watch: Watch, folder: Path) -> Counter[str]:
    """Read that many mutants, the same number of each target; print a line a target, count the verdicts."""
    chance = random.Random(seed)
    total: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, _too_slow)
    for target in targets:
        path = folder / f"mutant{target.suffix}"
        path.write_bytes(target.content)
        if (verdict := try_one(target, path, watch)) != "read":
            raise RuntimeError(f"the unharmed {target.name} is not read: {verdict}")
        before, started, slowest = _peak_bytes(), time.perf_counter(), 0.0
        verdicts: Counter[str] = Counter()
        for _ in range(inputs // len(targets)):
            content = mutate(target.content, chance.choice(targets).content, chance)
            path.write_bytes(content)
            one = time.perf_counter()
            verdict = try_one(target, path, watch)
            slowest = max(slowest, time.perf_counter() - one)
            if verdict not in ("read", "refused") and verdict not in verdicts:
                (folder / f"found-{target.name.replace(' ', '-')}-{len(verdicts)}").write_bytes(content)
            verdicts[verdict] += 1
        grown = _peak_bytes() - before
        if grown > target.max_bytes:
            verdicts[f"took {grown / 2**20:.0f} MiB"] += 1
        total += verdicts
        print(
            f"{target.name:>12} {len(target.content):>7} bytes: {verdicts['read']:>5} read, "
            f"{verdicts['refused']:>6} refused; slowest {slowest:.2f} s, "
            f"address space + {grown / 2**20:.0f} MiB, {time.perf_counter() - started:.0f} s",
            flush=True,
        )
        for verdict, count in verdicts.items():
            if verdict not in ("read", "refused"):
                print(f"    {count} × {verdict}", flush=True)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", default=20_000, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--only", help="the targets whose names contain this")
    parser.add_argument("--photos", type=Path, help="folder of JPEG photos to take one from")
    parser.add_argument("--keep", type=Path, help="folder for what was found")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes there of what it finds
    resource.setrlimit(resource.RLIMIT_AS, (24 * 2**30, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        targets = [*checkpoints(folder), *images(arguments.photos), *shards(folder)]
        targets = [target for target in targets if (arguments.only or "") in target.name]
        total = fuzz(targets, inputs=arguments.inputs, seed=arguments.seed, watch=Watch(), folder=folder)
    wrong = total.total() - total["read"] - total["refused"]
    print(f"{total.total()} inputs: {total['read']} read, {total['refused']} refused, {wrong} anything else")
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
