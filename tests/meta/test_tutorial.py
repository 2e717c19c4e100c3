"""The tutorial's commands and the notebook run, in order, on real photos where they are at hand."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from docs.site.blocks import Command, Ran, agree, commands, differences, wrong
from docs.site.pages import ROOT

from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.published import PUBLISHED

TUTORIAL = ROOT / "docs" / "tutorial.md"
NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"
WEIGHTS = "mobileone_s0.apple"
SHARED_DATA = ROOT.parent / "shared" / "data"
HAS_REAL_DATA = SHARED_DATA.is_dir()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder, beside it the photos as the tutorial's reader gets them, and downloaded weights."""
    folder = tmp_path / "mine"
    folder.mkdir()
    weights = tmp_path / "cache" / WEIGHTS / Path(PUBLISHED[WEIGHTS].source).name
    weights.parent.mkdir(parents=True)
    if HAS_REAL_DATA:
        zipfile.ZipFile(SHARED_DATA / "clothing_176_q80.zip").extractall(folder / "photos")
        weights.symlink_to((SHARED_DATA / "apple_s0" / weights.name).resolve())
    else:
        make_photos(folder / "photos")
        convert("mobileone_s0", weights, to="apple", form="inference")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    pins = {PUBLISHED[WEIGHTS].source: {"name": WEIGHTS, "sha256": digest}}
    (tmp_path / "cache" / "pins.json").write_text(json.dumps(pins), encoding="utf-8")
    return folder


def make_photos(folder: Path) -> None:
    """Three classes that one can tell apart, called as some of the real ones."""
    random = np.random.default_rng(0)
    for split, number in (("train", 30), ("val", 22)):
        for index, name in enumerate(("dress", "hat", "pants")):
            (folder / split / name).mkdir(parents=True)
            for each in range(number):
                pixels = random.integers(0, 90, (64, 48, 3))
                pixels[..., index] += 140
                photo = PIL.Image.fromarray(pixels.astype(np.uint8))
                photo.save(folder / split / name / f"{each % 6}-{each}.jpg")


@pytest.fixture
def environment(place: Path) -> dict[str, str]:
    """Of the commands: weights from the cache, nothing from the network."""
    return {
        "MOBILEONE_CACHE": str(place.parent / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src")]),
    }


def test_every_command_of_a_page_is_found_with_its_output():
    page = "```console\n$ a \\\n  b\nc\n…\n$ d\n```\n```sh\n$ not this\n```\n"
    assert commands(page) == [Command("a    b", ("c", "…")), Command("d", ())]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("acc@1 90.9  took 3 s", "acc@1 91.2   took 77 s", True),
        ("acc@1 90.9", "acc@1 70.1", False),
        ("acc@1 90.9", "acc@5 90.9", False),
        ("…/photos: 3,068 files", "/home/me/photos: 3068 files", True),
        ("error 1.2e-05", "error 3.1e-06", True),
        ("  wrote int8.….wasm, 1.2 MB", "  wrote int8.159e46bd.wasm, 1.2 MB", True),
    ],
)
def test_lines_agree_in_words_and_nearly_in_figures(shown, printed, same):
    assert agree(shown, printed) is same


def test_lines_must_come_in_the_order_shown():
    ran = Ran(Command("x", ("b", "…", "c", "a")), ("a", "b", "q", "c"), 0, 0.1)
    assert differences(ran) == ["a"]


def test_a_command_that_fails_or_prints_something_else_is_told(tmp_path):
    page = "```console\n$ echo one; touch here\ntwo\n$ ls\nhere\n$ echo no >&2; false\n$ touch never\n```\n"
    assert wrong(page, tmp_path, {}) == [
        "$ echo one; touch here: does not print: two",
        "$ echo no >&2; false: exit code 1: no",
    ]
    assert wrong(page, tmp_path, {}, is_compared=False) == ["$ echo no >&2; false: exit code 1: no"]
    assert not (tmp_path / "never").exists()


def test_the_mobileone_of_a_page_is_this_one_and_its_failure_is_told(tmp_path):
    (line,) = wrong("```console\n$ mobileone info no_such_model\n```\n", tmp_path, {})
    assert line.startswith("$ mobileone info no_such_model: exit code 1: mobileone: error: no model")


@pytest.mark.slow
def test_the_tutorial(place, environment):
    assert len(commands(TUTORIAL.read_text(encoding="utf-8"))) >= 10
    assert wrong(TUTORIAL.read_text(encoding="utf-8"), place, environment, is_compared=HAS_REAL_DATA) == []


@pytest.mark.slow
def test_the_notebook(place, environment, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="the extra docs runs the notebook")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    kept = [texts(cell) for cell in notebook.cells]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    if HAS_REAL_DATA:
        for cell, before in zip(notebook.cells, kept, strict=True):
            now = texts(cell)
            pairs = zip(before, now, strict=True)
            assert len(before) == len(now), cell.source
            assert [line for line, printed in pairs if not agree(line, printed)] == [], now


def texts(cell: dict) -> list[str]:
    """The lines that a cell printed."""
    outputs = cell.get("outputs", ())
    said = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in outputs]
    return [line for text in said for line in text.splitlines() if line.strip() and "Figure" not in line]


def test_the_notebook_is_small_and_has_its_outputs():
    assert NOTEBOOK.stat().st_size < 400_000
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
