"""Keeps packages that we import from telling their makers what is done with them. Imports nothing of theirs.

ONNX Runtime (1.29 and later, in its Linux builds) sends names and hashes of the networks it loads, OpenVINO
what it converts, unless they are told not to; each keeps a number of the machine below the home folder.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType

ONNX_RUNTIME = "ORT_DISABLE_TELEMETRY"
OPENVINO = "openvino_telemetry"  # a package of its own, which OpenVINO does without where it is missing


def import_silent(package: str) -> ModuleType:
    """Import a package as one that reports nothing; what was imported before stays as it was.

    ONNX Runtime reads its variable when it is loaded: who has set it has chosen. Child processes have it.

    Raises:
        ImportError: as `importlib.import_module`.
    """
    os.environ.setdefault(ONNX_RUNTIME, "1")
    hides = package.partition(".")[0] == "openvino" and OPENVINO not in sys.modules
    if hides:
        sys.modules[OPENVINO] = None  # type: ignore[assignment]  # so that importing it fails
    try:
        return import_module(package)
    finally:
        if hides:
            del sys.modules[OPENVINO]
