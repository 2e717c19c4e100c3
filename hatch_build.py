"""What wheels hold beside what pyproject.toml names: libraries that resize pictures, and the runtime's files.

The libraries are compiled by zig for some systems. Where ziglang is not installed wheels bring the C alone,
and say so: who runs it compiles it at need. The runtime's wheel is the package without the rooms of tensor
maths, which nothing without PyTorch could import.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path(__file__).resolve().parent / "src"
TENSOR_ROOMS = ("functional", "reparam", "training/method")


class WheelFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Adds them; libraries lie in a folder that is there as long as the build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them to the wheel; nothing where the package runs from its sources."""
        if version == "editable":
            return
        if self.config.get("runtime"):
            package = SOURCE / "mobileone"
            for path in package.rglob("*"):
                inside = path.relative_to(package)
                if (
                    path.is_file()
                    and not any(inside.is_relative_to(room) for room in TENSOR_ROOMS)
                    and "__pycache__" not in inside.parts
                ):
                    build_data["force_include"][str(path)] = f"mobileone/{inside}"
        if find_spec("ziglang") is None:
            self.app.display_warning("ziglang is not installed: the wheel brings resample.c uncompiled")
            return
        sys.path.insert(0, str(SOURCE))
        from mobileone.images.resample_library import compile_brought

        self._folder = tempfile.TemporaryDirectory()
        for path in compile_brought(Path(self._folder.name)):
            build_data["force_include"][str(path)] = f"mobileone/images/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()
