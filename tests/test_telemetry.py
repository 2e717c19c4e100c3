"""Runtimes report nothing and leave no number of the machine behind: in processes with homes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobileone.telemetry import ONNX_RUNTIME, OPENVINO, import_silent

# Numbers of this machine by which their makers would know it again.
TRACES = (".cache/Microsoft", "intel")
ON_CI = ("CI", "TF_BUILD", "JENKINS_URL")  # where these packages are silent anyway
EXPORT = """
import sys
import mobileone
from mobileone.variants import Variant
network = mobileone.create_model(Variant("tiny", (8, 8, 8, 8), depths=(1, 1, 1, 1)), num_classes=3)
network = mobileone.reparameterize(network.eval())
network.set_input_size(32)
mobileone.export(network, sys.argv[1], format=sys.argv[2])
"""
CONVERT = """
import openvino, torch
openvino.convert_model(torch.nn.Conv2d(3, 4, 1), example_input=torch.zeros(1, 3, 8, 8))
"""
RUN = """
import sys
import numpy
from mobileone.backends.artifact import Artifact
Artifact(sys.argv[1], threads=1).run(numpy.zeros((1, 32, 32, 3), numpy.uint8))
"""


def run(code: str, *arguments: str | Path, home: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (*ON_CI, ONNX_RUNTIME)}
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def traces(home: Path) -> list[str]:
    return [name for name in TRACES if (home / name).exists()]


@pytest.mark.parametrize(
    ("package", "kind", "name"), [("onnxruntime", "onnx", "net.onnx"), ("openvino", "openvino", "net.xml")]
)
def test_exporting_and_running_leaves_no_number_of_the_machine(
    package: str, kind: str, name: str, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    home = tmp_path / "home"
    run(EXPORT, tmp_path / name, kind, home=home)
    run(RUN, tmp_path / name, home=home)
    assert traces(home) == []


@pytest.mark.parametrize(
    ("package", "code", "trace"),
    [
        ("onnxruntime", "import onnxruntime, time; time.sleep(0.5)", ".cache/Microsoft"),
        ("openvino_telemetry", CONVERT, "intel"),
    ],
)
def test_the_number_is_where_this_looks_for_it(package: str, code: str, trace: str, tmp_path: Path) -> None:
    """Plain imports leave it, so that finding none above means something."""
    pytest.importorskip(package)
    run(code, home=tmp_path / "home")
    assert traces(tmp_path / "home") == [trace]


def test_what_was_chosen_or_imported_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ONNX_RUNTIME, "0")
    assert import_silent("json").__name__ == "json"
    assert os.environ[ONNX_RUNTIME] == "0"
    known = object()
    monkeypatch.setitem(sys.modules, OPENVINO, known)
    with pytest.raises(ImportError):
        import_silent("openvino.no_such_module")
    assert sys.modules[OPENVINO] is known
    monkeypatch.delitem(sys.modules, OPENVINO)
    with pytest.raises(ImportError):
        import_silent("openvino.no_such_module")
    assert OPENVINO not in sys.modules
