"""Wheels bring the C that resizes pictures as libraries too, compiled by zig for some systems.

Where ziglang is not installed they bring the C alone, and say so: who runs it compiles it at need.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path(__file__).resolve().parent / "src"


class ResampleLibraries(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles them into a folder that is there as long as the build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them to the wheel; nothing where the package runs from its sources."""
        if version == "editable":
            return
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
