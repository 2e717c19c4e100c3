"""`mobileone web`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mobileone.backends.table import backend_of
from mobileone.cli.output import megabytes, print_json
from mobileone.cli.target_file import refuse_existing
from mobileone.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Web:
    """Build a page that runs networks on any device with a browser: static files, offline too.

    Example: mobileone web mobileone_s0.apple_in1k --calib PHOTOS -o site
    """

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL")]
    """Networks, see mobileone --help: float ones, which are quantized, or *.c files of quantize."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """Folder to make."""
    calib: Path | None = None
    """Folder of photos of the kind that the networks will see, to quantize float ones with."""
    force: bool = False
    """Replace the folder."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        refuse_existing(self.output, force=self.force)
        if not self.models:
            raise ConfigError("name at least one MODEL")
        if self.calib is None and (found := [each for each in self.models if backend_of(each) is None]):
            raise ConfigError(f"{found[0]} is a float model; give --calib, a folder of photos")
        from mobileone.web.build_site import build_site

        done = build_site(self.models, self.output, calib=self.calib, force=self.force)
        if self.json:
            print_json(done.to_dict())
            return 0
        print(f"wrote {done.path}, {megabytes(done.size_bytes)}")
        for network in done.networks:
            print(f"  {network['title']}: {network['file']}, {megabytes(network['bytes'])}")
        for licence in done.licences:
            print(f"weights under another licence, whose text the page carries: {licence}")
        print(f"to look at it: python -m http.server -d {done.path}, then http://localhost:8000")
        return 0
