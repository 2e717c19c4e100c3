"""Mutated real files: a reader gives a result or an error of ours that names the file, and nothing else.

The long run is `python -m benchmarks.fuzz_files`; this one is short, and hypothesis shrinks what it finds.
"""

import io
import os
import random
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmarks import fuzz_files
from benchmarks.fuzz_files import Target, Watch, checkpoints, images, texts, try_one
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobileone.checkpoint.store import load_state, save_state
from mobileone.errors import CheckpointError, MobileOneError, UnsafeCheckpointError

WATCH = Watch()
READ_ONCE: set[Path] = set()
BOUNDED = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def targets(folder: Path) -> dict[str, Target]:
    return {target.name: target for target in [*checkpoints(folder), *images(None), *texts(folder)]}


@pytest.fixture(autouse=True)
def _alarm() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, fuzz_files._too_slow)
    yield
    signal.signal(signal.SIGALRM, before)


CHECKPOINTS = ("safetensors", "pt", "apple", "mmpretrain", "reference", "legacy", "resume file")
TEXTS = (
    "manifest",
    "run config",
    "run images",
    "hub config",
    "metrics",
    "vectors",
    "names of vectors",
    "exclusions",
    ".csv partial",
    ".jsonl partial",
)
IMAGES = ("JPEG RGB", "JPEG L", "JPEG CMYK", "PNG RGBA", "PNG P", "PNG I;16", "GIF P", "BMP RGB", "WEBP RGB")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*CHECKPOINTS, *IMAGES, "TIFF RGB", "TIFF F", "PPM RGB", *TEXTS])
@BOUNDED
@given(chance=st.randoms(use_true_random=False), other=st.sampled_from(CHECKPOINTS + IMAGES))
def test_mutants_are_read_or_refused(
    targets: dict[str, Target], folder: Path, name: str, chance: random.Random, other: str
) -> None:
    target = targets[name]
    path = folder / f"mutant{target.suffix}"
    if path not in READ_ONCE:  # what is looked up once, types of fields say, is looked up now
        READ_ONCE.add(path)
        path.write_bytes(target.content)
        target.read(path)
    path.write_bytes(target.mutant(targets[other].content, chance))
    assert try_one(target, path, WATCH) in ("read", "refused")


def test_the_watch_sees_what_readers_must_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"")

    def verdict(read: object) -> str:
        return try_one(Target("twin", b"", ".bin", read), path, WATCH)  # type: ignore[arg-type]

    def refuse(text: str) -> object:
        def read(path: Path) -> None:
            raise MobileOneError(text)

        return read

    assert verdict(lambda path: None) == "read"
    assert verdict(refuse(f"cannot read {path}")) == "refused"
    assert verdict(refuse("cannot read it")).startswith("a message without a name")
    assert verdict(refuse(f"{path}: can't allocate memory")).startswith("memory ran out")
    assert verdict(lambda path: 1 / 0) == "ZeroDivisionError: division by zero"
    assert verdict(lambda path: os.system("true")).startswith("it did os.system")
    assert verdict(lambda path: exec("pass")).startswith("it did exec")
    assert verdict(lambda path: (tmp_path / "new").write_text("")).startswith("it did open")
    monkeypatch.setattr(fuzz_files, "SECONDS", 0.05)
    assert verdict(lambda path: [None for _ in iter(int, 1)]).startswith("TimeoutError")


def test_a_resume_file_cannot_multiply_its_memory(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    whole = torch.arange(1000.0)
    save_state({"a": whole, "b": whole}, path)  # the same tensor twice is one
    assert torch.equal(load_state(path)["b"], whole)
    save_state({f"{n}": whole[n:] for n in range(100)}, path)
    with pytest.raises(UnsafeCheckpointError, match=r"state\.pt: its tensors add up to more than the file"):
        load_state(path)


def test_a_resume_file_keeps_strides_values_and_emptiness(tmp_path: Path) -> None:
    kernel = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    state = {
        "kernel": kernel,
        "none": torch.empty(0, 3),
        "scalar": torch.tensor(3),
        "nested": [(1, {"a": 2.5})],
    }
    loaded = load_state(save_state(state, tmp_path / "state.pt"))
    assert torch.equal(loaded["kernel"], kernel)
    assert loaded["kernel"].stride() == kernel.stride()
    assert loaded["none"].shape == (0, 3)
    assert (loaded["scalar"].item(), loaded["nested"]) == (3, [(1, {"a": 2.5})])
    with pytest.raises(CheckpointError, match=r"state\['c'\], a torch\.complex64 tensor"):
        save_state({"c": torch.zeros(1, dtype=torch.complex64)}, tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("opcodes", "reason"),
    [
        (b"]q\x00h\x00a.", "a value in it holds itself"),
        (b"]" + b"\x85" * 5000 + b".", "nested too deeply"),
        (
            b"]q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b".",
            None,
        ),  # 2⁶⁰ leaves
        (b"cos\nsystem\n.", "asks for 'os.system'"),
        (b"\x8f.", "not a resume file"),
    ],
)
def test_resume_files_made_to_harm(tmp_path: Path, opcodes: bytes, reason: str | None) -> None:
    path = tmp_path / "state.pt"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + opcodes)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match=r"state\.pt") as caught:
        load_state(path)
    assert reason is None or reason in str(caught.value)
