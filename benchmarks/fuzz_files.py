"""Claim (docs/security.md): no file, however damaged, hangs a reader, runs code or eats the memory.

Real files (models in every format, resume files, photos in every image format, shards, manifests, what lies
in a run's folder, lists) are mutated at random: bits and bytes changed, pieces cut, doubled, moved, taken
from another file, lengths replaced by huge ones; in JSON also single values, by values that nobody expects
there. Each mutant is read. Allowed is a result or a MobileOneError that names the file; anything else is
printed and counted: another exception, a longer wait than the limit, code that ran (an audit hook watches),
memory over the bound.

Run: python -m benchmarks.fuzz_files --inputs 20000
"""

from __future__ import annotations

import argparse
import io
import json
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
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import PIL.Image
import torch

from benchmarks.mutants import mutate, mutate_json
from mobileone.backends.export_options import ExportOptions, tensor_spec
from mobileone.backends.manifest import manifest_path, read_manifest, record_files
from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import config_of, load_state, save_model, save_state
from mobileone.cli.prediction_file import PredictionFile
from mobileone.curation.embeddings import Embeddings
from mobileone.data.fingerprint import Fingerprint
from mobileone.data.shards.index import ShardIndex
from mobileone.data.shards.shard_source import open_shards
from mobileone.data.shards.tar import index_tar
from mobileone.data.shards.write import write_shards
from mobileone.data.subset import read_exclusions
from mobileone.decision import Decision
from mobileone.errors import MobileOneError
from mobileone.exporting.pipeline import describe as describe_network
from mobileone.images.decode import read_image
from mobileone.images.eval_transform import EvalTransform
from mobileone.inference.predictor import Prediction, Score
from mobileone.model.create import create_model
from mobileone.training.config.augmentation import Phase
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.run_report import epoch_rows
from mobileone.training.watch.records import EpochRecord
from mobileone.variants import Variant

TINY = Variant("tiny", (8, 8, 16, 16), num_conv_branches=2, depths=(1, 1, 1, 1))
SECONDS = 10.0
CHECKPOINT_BYTES = 256 * 2**20
IMAGE_BYTES = 6 * 2**30
# What a reader of data has no business with, besides running code and writing files.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.fork", "socket.connect")


@dataclass(frozen=True)
class Target:
    """A reader, and a real file for it.

    Attributes:
        name: for the report.
        content: the unharmed file.
        suffix: of the file's name.
        read: reads a path to the end.
        max_bytes: bound of its memory.
        is_json: whether values in it are replaced as well as bytes.
    """

    name: str
    content: bytes
    suffix: str
    read: Callable[[Path], object]
    max_bytes: int = CHECKPOINT_BYTES
    is_json: bool = False

    def mutant(self, other: bytes, chance: random.Random) -> bytes:
        """A copy of the content with something changed; `other` is content that pieces are taken from."""
        if self.is_json and chance.random() < 0.7:
            return mutate_json(self.content, chance)
        return mutate(self.content, other, chance)


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
        # A folder that is a model is named by the file in it that does not fit.
        named = path.name in text or (path.parent.name.startswith("mutant") and str(path.parent) in text)
        verdict = "refused" if named and "\n" not in text else f"a message without a name: {text}"
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
        "records": [{"epoch": 1, "train_loss": 0.1, "metrics": {}}],
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
            is_json=True,
        ),
        Target("shard images", tar.read_bytes(), "-shard.tar", read, IMAGE_BYTES),
    ]


def texts(folder: Path) -> list[Target]:
    """A manifest, what lies in a run's folder, a hub's config.json, and predictions that were interrupted."""
    artifact = folder / "mutant.onnx"
    artifact.write_bytes(b"graph")
    torch.manual_seed(0)
    network = create_model(TINY, num_classes=3, class_names=list("abc"), form="inference").eval()
    network.decision = Decision(
        temperatures=(1.5,),
        thresholds=(0.5, 0.6, 0.7),
        novelty="energy",
        novelty_limit=-1.0,
        evidence={"n": 3},
    )
    tensor = tensor_spec(network, ExportOptions(), layout="NCHW", uint8=False)
    manifest = describe_network(
        network, format="onnx", precision="fp32", tensor=tensor, options={"a": [1]}, versions={}, source="x"
    )
    replace(manifest, files=record_files(artifact, [artifact])).write(manifest_path(artifact))
    files = RunDir(folder / "mutant-run")
    config = TrainConfig(model=TINY, data="digits", epochs=4, progressive=(Phase(until=0.5, size=128),))
    files.claim(config, world_size=1)
    images = {"training": Fingerprint({"cat": 3, "dog": 2}, {"cat": "a" * 16, "dog": "b" * 16})}
    files.note_images(images)
    numbers: dict[str, Any] = {field.name: 0.5 for field in fields(EpochRecord)}
    numbers["metrics"] = {"acc1": 50.0, "acc5": 90.0}
    files.write_metrics([EpochRecord(**numbers | {"epoch": n, "step": n}) for n in (1, 2)])
    hub = folder / "mutant-hub"
    hub.mkdir()
    torch.save(network.state_dict(), hub / "pytorch_model.bin")
    (hub / "config.json").write_text(json.dumps(config_of(network).to_hub()))
    kept = Embeddings(vectors=np.ones((2, 3), np.float32), names=("a", "b"), labels=("x", "y"))
    vectors, named = (kept.write(folder / f"mutant{suffix}") for suffix in (".npy", "-named.npy"))
    exclusions = folder / "mutant-out.csv"
    exclusions.write_text('image,label\ncat/1.jpg,cat\n"\'=a, b.jpg",dog\n')
    readers: dict[str, tuple[Path, Callable[[Path], object]]] = {
        "manifest": (manifest_path(artifact), lambda _: read_manifest(artifact)),
        "run config": (files.config, lambda _: files.read_config()),
        "run images": (files.images, lambda _: files.changed_images(images)),
        "hub config": (hub / "config.json", lambda _: load_model(hub)),
        "metrics": (files.metrics, lambda _: epoch_rows(files)),
        "vectors": (vectors, lambda _: Embeddings.read(vectors)),
        "names of vectors": (named.with_name(f"{named.name}.json"), lambda _: Embeddings.read(named)),
        "exclusions": (exclusions, lambda _: read_exclusions(exclusions)),
    }
    start = str(folder / "mutant")
    targets = [
        Target(name, path.read_bytes(), str(path).removeprefix(start), read, is_json=path.suffix == ".json")
        for name, (path, read) in readers.items()
    ]
    scores = (Score(0, "cat", "cat", 0.75), Score(1, "dog", "dog", 0.25))
    for suffix in (".csv", ".jsonl"):
        output = PredictionFile(folder / f"mutant{suffix}", resume=True)
        with output.writer() as write:
            for name in ("a.jpg", "b.jpg", "c.jpg"):
                write(Prediction(name, scores))
        content = output.path.read_bytes()
        output.path.unlink()
        targets.append(Target(f"{suffix} partial", content, f"{suffix}.partial", partial(_done, output)))
    return targets


def _done(output: PredictionFile, _: Path) -> object:
    return output.done()


def fuzz(targets: list[Target], *, inputs: int, seed: int, watch: Watch, folder: Path) -> Counter[str]:
    """Read that many mutants, the same number of each target; print a line a target, count the verdicts."""
    chance = random.Random(seed)
    total: Counter[str] = Counter()
    signal.signal(signal.SIGALRM, _too_slow)
    for target in targets:
        path = folder / f"mutant{target.suffix}"
        path.write_bytes(target.content)
        target.read(path)  # what is looked up once, types of fields say, is looked up now
        if (verdict := try_one(target, path, watch)) != "read":
            raise RuntimeError(f"the unharmed {target.name} is not read: {verdict}")
        before, started, slowest = _peak_bytes(), time.perf_counter(), 0.0
        verdicts: Counter[str] = Counter()
        for _ in range(inputs // len(targets)):
            content = target.mutant(chance.choice(targets).content, chance)
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
        targets = [*checkpoints(folder), *images(arguments.photos), *shards(folder), *texts(folder)]
        targets = [target for target in targets if (arguments.only or "") in target.name]
        total = fuzz(targets, inputs=arguments.inputs, seed=arguments.seed, watch=Watch(), folder=folder)
    wrong = total.total() - total["read"] - total["refused"]
    print(f"{total.total()} inputs: {total['read']} read, {total['refused']} refused, {wrong} anything else")
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
