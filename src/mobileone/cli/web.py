"""`mobileone web`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.backends.table import backend_of
from mobileone.cli.output import megabytes, print_json
from mobileone.cli.target_file import refuse_existing, require_drawing
from mobileone.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from mobileone.web.host import Hosted

# What a phone says of a certificate that nobody but this machine vouches for, and where to go on.
PHONES = (
    "the phone will warn that the connection is not private, as this machine signed its certificate itself; "
    "go on by Advanced, Proceed (Chrome, Edge, Firefox) or Show Details, visit this website (Safari). "
    "The certificate's SHA-256 is"
)


@dataclass(frozen=True, kw_only=True)
class Web:
    """Build a page that runs networks on any device with a browser: static files, offline too.

    With --serve, phones on the local network open it; --collect compares results that the page gave.

    Example: mobileone web mobileone_s0.apple_in1k --calib PHOTOS -o site --serve --tls
    """

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL")] = ()
    """Networks, see mobileone --help: float ones, which are quantized, or *.c files of quantize."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Folder to make; without MODEL, one that was made before, to serve."""
    calib: str | None = None
    """Photos of the kind that the networks will see, to quantize float ones with; as of `quantize`."""
    runtime: Literal["litert"] | None = None
    """Another runtime beside our engine: LiteRT.js, for networks in fp32 too, or only so without --calib."""
    runtime_archive: Path | None = None
    """Its npm archive. Default: from the cache, or fetched by npm."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    serve: bool = False
    """Then serve the folder, with the headers that threads need, until interrupted."""
    tls: bool = False
    """Serve by https, with a certificate that this machine signs: phones give the camera to no other page."""
    host: str = "0.0.0.0"
    """Address to serve at. Default: every network of this machine; 127.0.0.1 is this machine alone."""
    port: int = 8000
    """Port to serve at; 0 takes a free one."""
    collect: Annotated[tuple[str, ...], arg(metavar="FILE")] = ()
    """Instead: compare results that the page gave, as JSON files or links (or a file of links)."""
    png: Path | None = None
    """With --collect: draw them too, as PNG."""
    force: bool = False
    """Replace the folder."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        self._check()
        if self.collect:
            return self._compare()
        assert self.output is not None
        if self.models:
            self._build(self.output)
        if self.serve:
            self._serve(self.output)
        return 0

    def _check(self) -> None:
        """Refuse what does not go together, before any work is done."""
        from mobileone.web.self_signed import check_tls_installed

        if self.collect and (self.models or self.output or self.serve):
            raise ConfigError("--collect takes results alone: no MODEL, no --output and no --serve")
        if self.png and not self.collect:
            raise ConfigError("--png draws results: give --collect FILE")
        if self.tls and not self.serve:
            raise ConfigError("--tls is for serving: give --serve too")
        if self.collect:
            return
        if self.tls:
            check_tls_installed()
        if self.output is None:
            raise ConfigError("give --output, the folder to make")
        if not self.models and not self.serve:
            raise ConfigError(
                "name at least one MODEL, or give --serve to serve a folder that was made before"
            )
        if self.models:
            refuse_existing(self.output, force=self.force)
        if self.runtime_archive is not None and self.runtime is None:
            raise ConfigError("--runtime-archive needs --runtime litert")
        floats = [each for each in self.models if backend_of(each) is None]
        if floats and self.calib is None and self.runtime is None:
            raise ConfigError(f"{floats[0]} is a float model; give --calib with photos")

    def _build(self, output: Path) -> None:
        from mobileone.web.build_site import build_site

        done = build_site(
            self.models,
            output,
            calib=self.calib,
            runtime=self.runtime,
            runtime_archive=self.runtime_archive,
            weights_key=self.weights_key,
            force=self.force,
        )
        if self.json:
            print_json(done.to_dict())
            return
        print(f"wrote {done.path}, {megabytes(done.size_bytes)}")
        for network in done.networks:
            print(f"  {network['title']}: {network['file']}, {megabytes(network['bytes'])}")
        for licence in done.licences:
            print(f"weights under another licence, whose text the page carries: {licence}")
        if not self.serve:
            print(
                f"to look at it: mobileone web --serve -o {done.path}, or copy the folder to any web server"
            )

    def _serve(self, output: Path) -> None:
        from mobileone.cli.terminal import Terminated
        from mobileone.web.host import host

        try:
            host(output, address=self.host, port=self.port, tls=self.tls, on_start=self._tell)
        except (KeyboardInterrupt, Terminated):
            print("stopped", file=sys.stderr)

    def _tell(self, hosted: Hosted) -> None:
        from mobileone.web.scan_code import scan_code

        print(f"serving {self.output} at {hosted.address}", file=sys.stderr)
        if hosted.fingerprint is not None:
            print(f"{PHONES} {hosted.fingerprint}", file=sys.stderr)
        elif not hosted.is_local:
            print("other devices give this page no camera and one thread; --tls gives both", file=sys.stderr)
        if not hosted.is_local and sys.stderr.isatty():
            try:
                print(scan_code(hosted.address), file=sys.stderr)
            except MissingExtraError as error:
                print(error, file=sys.stderr)

    def _compare(self) -> int:
        from mobileone.web.collect import collect, collect_report, draw_collected

        if self.png:
            require_drawing(self.png, ".png")
        found = collect(self.collect)
        if self.png:
            draw_collected(found, self.png)
        if self.json:
            print_json([each.to_dict() for each in found])
        else:
            print(collect_report(found))
        return 0
