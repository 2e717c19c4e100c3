"""The whole package or the runtime: what is said where PyTorch is missing."""

import importlib.metadata
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from mobileone.distribution import (
    distribution_name,
    needing_pytorch,
    package_version,
    pip_install,
    version_text,
)
from mobileone.errors import MissingExtraError

# In this process PyTorch cannot be imported, nor what comes with it; only the runtime is installed.
WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "huggingface_hub"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def without_torch(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_advice_names_the_package_that_is_installed(monkeypatch):
    there = set()

    def version(name):
        if name not in there:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert distribution_name() == "mobileone"
    assert package_version() == "0+source", "a tree that is installed nowhere still says something"
    there.add("mobileone-runtime")
    assert package_version() == "1"
    assert distribution_name() == "mobileone-runtime"
    assert pip_install("litert") == "pip install 'mobileone-runtime[litert]'"
    there.add("mobileone")
    assert distribution_name() == "mobileone"


def test_version_names_what_is_there(monkeypatch):
    there = {}

    def version(name):
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert version_text() == "mobileone, not installed"
    there["mobileone-runtime"] = "1.2"
    assert version_text() == "mobileone-runtime 1.2"
    there |= {"mobileone": "1.3", "torch": "2.9+cpu"}
    assert version_text() == "mobileone 1.3, torch 2.9+cpu"


def test_a_missing_package_of_the_whole_is_explained_and_any_other_is_not():
    told = "training needs PyTorch, and torch is not installed"
    with pytest.raises(MissingExtraError, match=told), needing_pytorch("training"):
        raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")
    with pytest.raises(MissingExtraError, match="fusing needs PyTorch"), needing_pytorch("fusing"):
        raise ModuleNotFoundError("No module named 'mobileone.reparam'", name="mobileone.reparam")
    with pytest.raises(ModuleNotFoundError, match="other") as caught, needing_pytorch("training"):
        raise ModuleNotFoundError("No module named 'other'", name="other")
    assert not isinstance(caught.value, MissingExtraError)


def test_names_are_the_same_and_those_of_pytorch_say_what_to_install():
    done = without_torch(
        """
import mobileone
print(len(mobileone.__all__), mobileone.Predictor.__name__, mobileone.evaluate.__name__)
for name in ("create_model", "load_model", "fit", "MobileOne"):
    try:
        getattr(mobileone, name)
    except mobileone.MissingExtraError as error:
        assert f"mobileone.{name} needs PyTorch" in str(error), error
    else:
        raise SystemExit(f"{name} came without torch")
try:
    mobileone.Predictor.load("mobileone_s0")
except mobileone.MissingExtraError as error:
    print(error)
"""
    )
    assert done.returncode == 0, done.stderr
    assert "Predictor evaluate" in done.stdout
    assert "mobileone_s0, which is no exported file, needs PyTorch" in done.stdout


@pytest.mark.parametrize(
    "command", ["train --data digits", "predict mobileone_s0 photo.jpg", "bench mobileone_s0"]
)
def test_commands_that_need_pytorch_say_so_in_one_line(command):
    done = without_torch(f"from mobileone.cli.main import main; raise SystemExit(main({command.split()!r}))")
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs PyTorch" in done.stderr
    assert ("mobileone_s0, which is no exported file" in done.stderr) == ("mobileone_s0" in command)
    assert "pip install mobileone" in done.stderr
    assert done.stderr.count("\n") == 1
