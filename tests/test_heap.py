"""Freed memory is kept within a block, and given back behind it."""

import ctypes
import platform
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from mobileone.checkpoint.store import save_model
from mobileone.cli.main import main
from mobileone.curation.embed import embed
from mobileone.evaluation.evaluate import evaluate
from mobileone.heap import VARIABLES, kept_heap
from mobileone.inference.predictor import Predictor
from mobileone.model.network import MobileOne
from mobileone.parts.predict_parts import predict_parts

BYTES = 48 << 20
PAGES = BYTES // resource.getpagesize()
needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told to keep what is freed"
)


def faults_of_a_large_tensor() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(BYTES // 4).zero_()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture(autouse=True)
def malloc_is_not_told_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


@needs_glibc
def test_memory_that_is_freed_serves_again_within_the_block() -> None:
    with kept_heap():
        for _ in range(10):  # glibc before 2.38 leaves a gap at an aligned block's end the first seven times
            faults_of_a_large_tensor()
        assert faults_of_a_large_tensor() < PAGES / 100


@needs_glibc
@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_MMAP_MAX_", "0"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")]
)
def test_what_the_environment_says_of_malloc_stands(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was asked for"))
    with kept_heap():
        pass


def test_without_glibc_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Musl:  # a call of mallopt would be an AttributeError
        def __init__(self, name: None) -> None:
            pass

    monkeypatch.setattr(ctypes, "CDLL", Musl)
    with kept_heap():
        pass
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was asked for"))
    with kept_heap():
        pass


@needs_glibc
def test_it_is_given_back_behind_the_block_and_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Glibc:
        gnu_get_libc_version = None

        def __init__(self, name: None) -> None:
            self.mallopt = lambda *arguments: calls.append(arguments)
            self.malloc_trim = lambda pad: calls.append(("trim", pad))

    monkeypatch.setattr(ctypes, "CDLL", Glibc)

    def failing_run() -> None:
        with kept_heap():
            assert calls == [(-4, 0), (-1, -1)]
            with kept_heap():
                pass
            assert len(calls) == 2  # the block around it goes on
            raise KeyError

    with pytest.raises(KeyError):
        failing_run()
    assert calls[2:] == [(-4, 65536), (-3, 32 << 20), (-1, 64 << 20), ("trim", 0)]


LOOKS: dict[str, Callable[[MobileOne, Path], object]] = {
    "test": lambda network, photos: evaluate(network, photos, progress=False),
    "embed": lambda network, photos: embed(network, photos, progress=False),
    "parts": lambda network, photos: predict_parts(Predictor(network), [str(photos)], photos / "out"),
    "predict": lambda network, photos: main(["predict", str(saved(network, photos)), str(photos)]),
}


@needs_glibc
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_memory_is_kept_while_a_set_is_looked_at(
    look: Callable[[MobileOne, Path], object], network: MobileOne, tmp_path: Path
) -> None:
    faults: list[int] = []

    def note(module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, torch.nn.Conv2d) and not faults:
            faults.extend(faults_of_a_large_tensor() for _ in range(10))

    for index in range(7):
        photo = tmp_path / "val" / str(index) / "photo.png"
        photo.parent.mkdir(parents=True)
        PIL.Image.new("RGB", (32, 32)).save(photo)
    hook = register_module_forward_hook(note)
    try:
        look(network, tmp_path)
    finally:
        hook.remove()
    assert faults[-1] < PAGES / 100


def saved(network: MobileOne, folder: Path) -> Path:
    return save_model(network, folder / "network.safetensors")
