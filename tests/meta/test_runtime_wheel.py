"""The wheel without PyTorch, installed where there is none: the commands work, and what needs it says so."""

import json
import re
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from packaging.requirements import Requirement

from mobileone.c_compiler import this_system
from mobileone.exporting.export import export
from mobileone.images.resample_library import BROUGHT_SYSTEMS, brought_path
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

ROOT = Path(__file__).resolve().parents[2]
LARGEST_MB = 1.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling, in the extra dev")
    folder = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder,
        ROOT / "runtime",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (path,) = folder.glob("mobileone_runtime-*.whl")
    return path


def needed(names):
    """Those packages and everything that they need, by name."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            wanted = map(Requirement, requires(name) or ())
            waiting += [
                each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


@pytest.fixture(scope="session")
def lite(wheel, tmp_path_factory):
    """An environment of the wheel, its dependencies and ONNX Runtime; the last two linked from this one."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    folder = tmp_path_factory.mktemp("lite")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in needed(["numpy", "pillow", "simplejpeg", "filelock", "tqdm", "tyro", "onnxruntime"]):
        files = distribution(name).files
        for top in {
            file.parts[0] for file in files if ".." not in file.parts and "__pycache__" not in file.parts
        }:
            place = Path(distribution(name).locate_file(top))
            if not (site / top).exists():
                (site / top).symlink_to(place)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=300)
    return folder / "bin"


@pytest.fixture
def run(lite, tmp_path):
    def command(program, *arguments):
        words = [str(lite / program), *map(str, arguments)]
        return subprocess.run(
            words, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=120
        )

    return command


@pytest.fixture
def network_file(tmp_path, tiny, randomize):
    spec = InputSpec(size=32)
    model = randomize(create_model(tiny, num_classes=2, class_names=("cat", "dog"), input_spec=spec)).eval()
    return export(model, tmp_path / "net.onnx", format="onnx").path


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(3):
            pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.jpg")
    return tmp_path / "photos"


def test_it_is_small_and_holds_no_rubbish(wheel):
    assert wheel.stat().st_size < LARGEST_MB * 1e6
    names = zipfile.ZipFile(wheel).namelist()
    assert "mobileone/imagenet_classes.tsv" in names
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_it_brings_the_library_that_resizes(wheel, run):
    pytest.importorskip("ziglang", reason="libraries of wheels are compiled by zig, in the extra c")
    libraries = [f"mobileone/images/{brought_path(system).name}" for system in BROUGHT_SYSTEMS]
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(name for name in names if name.endswith((".so", ".dll", ".dylib"))) == sorted(libraries)
    if this_system() in BROUGHT_SYSTEMS:
        code = "from mobileone.images import resample; print(type(resample._resampler.choose(1)).__name__)"
        assert run("python", "-c", code).stdout == "Library\n"


def test_there_is_no_torch_and_nothing_else_of_ours(run):
    assert run("python", "-c", "import torch").returncode == 1
    done = run("python", "-c", "import mobileone; print(mobileone.__version__, mobileone.__file__)")
    assert "site-packages" in done.stdout, done.stderr


def test_it_predicts_and_tests(run, network_file, photos):
    done = run("mobileone", "predict", network_file, photos, "--json")
    assert done.returncode == 0, done.stderr
    predictions = json.loads(done.stdout)
    assert len(predictions) == 6
    assert {score["class_name"] for score in predictions[0]["scores"]} == {"cat", "dog"}
    done = run("mobileone", "test", network_file, "--data", photos, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["num_images"] == 6
    best = [prediction["scores"][0]["class_name"] in prediction["image"] for prediction in predictions]
    assert result["acc1"] == pytest.approx(100 * sum(best) / 6)


def test_it_predicts_and_tests_in_parts(run, network_file, photos, tmp_path):
    run("mobileone", "predict", network_file, photos, "-o", tmp_path / "out", "--part-size", "4")
    assert "2 parts, 6 images, each once" in run("mobileone", "merge", tmp_path / "out").stdout
    run("mobileone", "test", network_file, "--data", photos, "-o", tmp_path / "tested")
    assert "n 6" in run("mobileone", "merge", tmp_path / "tested").stdout


def test_it_benches_finished_artifacts(run, network_file, photos):
    done = run("mobileone", "bench", network_file, "--runs", 3, "--eval", photos, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (row,) = result["rows"]
    assert (row["backend"], row["accuracy"]["num_images"]) == ("onnx", 6)
    assert row["floor"] is None
    assert "PyTorch, which measures them, is not here" in result["protocol"]["notes"][0]
    assert "\n\n\n" not in run("mobileone", "bench", network_file, "--runs", 3).stdout


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("info", "mobileone_s0"), None),
        (("predict", "mobileone_s0", "photo.jpg"), "needs PyTorch, and torch is not installed"),
        (("train", "--data", "digits"), "needs PyTorch"),
        (("predict", "net.xml", "photo.jpg"), "net.xml is not there"),
    ],
)
def test_what_it_cannot_is_one_line(run, command, told):
    done = run("mobileone", *command)
    if told is None:
        assert done.returncode == 0, done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert told in done.stderr


def test_a_runtime_that_is_not_there_names_this_packages_extra(run, network_file, tmp_path):
    other = tmp_path / "net.tflite"
    other.write_bytes(network_file.read_bytes())
    manifest = json.loads((tmp_path / "net.onnx.json").read_text())
    manifest["format"], manifest["files"][0]["name"] = "litert", "net.tflite"
    (tmp_path / "net.tflite.json").write_text(json.dumps(manifest))
    done = run("mobileone", "predict", other, "photo.jpg")
    assert done.returncode == 1
    assert "pip install 'mobileone-runtime[litert]'" in done.stderr


def test_nothing_in_it_needs_a_newer_python_than_it_says():
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "runtime" / "pyproject.toml").read_text())[
        1
    ]
    command = [sys.executable, "-m", "mypy", "--python-version", oldest, "--cache-dir", "/dev/null"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600).stdout
    assert "checked" in told or "no issues" in told
    missing = ("[attr-defined]", "[syntax]", "[import-not-found]", "[call-arg]")
    assert [line for line in told.splitlines() if line.endswith(missing)] == []
