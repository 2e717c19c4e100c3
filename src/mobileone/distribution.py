"""Which package is installed, the whole or the runtime alone, and what that one does not hold. No torch.

`mobileone` and `mobileone-runtime` are the same files with other dependencies: the second comes without
PyTorch, and runs exported files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mobileone.errors import MissingExtraError

WHOLE, RUNTIME = "mobileone", "mobileone-runtime"
# What the whole package depends on and the runtime does not.
WHOLE_ONLY = ("torch", "safetensors", "huggingface_hub")


def distribution_name() -> str:
    """The package that is installed; the whole one where both are, or neither (a bare source tree)."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and hardly ever needed

    for name in (WHOLE, RUNTIME):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return WHOLE


def package_version() -> str:
    """The version of what is installed; of a bare source tree, which has none, `0+source`."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution_name())
    except PackageNotFoundError:
        return "0+source"


def version_text() -> str:
    """What is installed, in a line: the package and its version, and PyTorch's, which is not loaded for that.

    >>> version_text().startswith("mobileone")
    True
    """
    from importlib.metadata import PackageNotFoundError, version

    shown = []
    for name in (distribution_name(), "torch"):
        with suppress(PackageNotFoundError):
            shown.append(f"{name} {version(name)}")
    return ", ".join(shown) or f"{WHOLE}, not installed"


def pip_install(extra: str) -> str:
    """The command that adds an extra to what is installed.

    >>> pip_install("onnx")
    "pip install 'mobileone[onnx]'"
    """
    return f"pip install '{distribution_name()}[{extra}]'"


@contextmanager
def needing_pytorch(what: str) -> Iterator[None]:
    """Around imports of what the runtime does not hold: where that fails, the error names the package.

    Args:
        what: is wanted, for the message.

    Raises:
        MissingExtraError: if a package is missing that only the whole one depends on.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in (*WHOLE_ONLY, WHOLE):  # the runtime's wheel lacks rooms of ours (hatch_build.py)
            raise
        raise MissingExtraError(
            f"{what} needs PyTorch, and {missing} is not installed: {RUNTIME} runs exported files alone; "
            f"pip uninstall {RUNTIME}, then pip install {WHOLE}"
        ) from error
