"""`mobileone convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.cli.target_file import refuse_existing
from mobileone.variants import Form


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a model in another project's format, every key accounted for.

    Example: mobileone convert mobileone_s0.pth.tar -o s0.safetensors --to timm
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL to read."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """File to write; .safetensors for timm, .pth (or .pt, .pth.tar) for any."""
    to: Literal["timm", "apple", "mmpretrain", "reference"] = "timm"
    """Whose names and file layout."""
    form: Form | None = None
    """Fuse or expand on the way. Default: as it is."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    force: bool = False
    """Overwrite an existing file."""

    def run(self) -> int:
        from mobileone.checkpoint.convert import convert

        refuse_existing(self.output, force=self.force)
        written = convert(self.model, self.output, to=self.to, form=self.form, weights_key=self.weights_key)
        print(f"wrote {written} in {self.to}'s format")
        return 0
