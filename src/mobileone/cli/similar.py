"""`mobileone similar`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mobileone.cli.device_option import device_name
from mobileone.cli.output import print_json
from mobileone.cli.target_file import require_drawing
from mobileone.errors import ConfigError
from mobileone.outside_text import printable

if TYPE_CHECKING:
    from mobileone.curation.embeddings import Embeddings
    from mobileone.curation.similar import LookAlike

MAX_DRAWN = 47


@dataclass(frozen=True, kw_only=True)
class Similar:
    """The images that look most like a photo, by what the model sees in them.

    Example: mobileone similar runs/mine photo.jpg --in vectors.npy
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help, or a file exported from a network without classifier."""
    photo: Annotated[Positional[str], arg(metavar="PHOTO")]
    """The image."""
    among: Annotated[Path, arg(name="in", metavar="DIR|FILE")]
    """Folder of images, or the .npy or .parquet that `mobileone embed` wrote of it."""
    number: Annotated[int, arg(aliases=("-k",))] = 10
    """How many."""
    png: Path | None = None
    """Also draw them into this picture, the photo first."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.curation.embed import embed
        from mobileone.curation.embeddings import Embeddings
        from mobileone.curation.similar import similar
        from mobileone.inference.predictor import Predictor

        if self.png is not None:
            require_drawing(self.png, ".png")
        if self.number < 1:
            raise ConfigError(f"--number must be at least 1, got {self.number}")
        read = None if self.among.is_dir() else Embeddings.read(self.among)
        predictor = Predictor.load(
            self.model, device=device_name(self.model, self.device), weights_key=self.weights_key
        )
        vectors = embed(predictor, self.among) if read is None else read
        found = similar(predictor, self.photo, vectors, number=self.number)
        if self.png is not None:
            _draw(self.photo, found, vectors, self.png)
        if self.json:
            print_json([each.to_dict() for each in found])
            return 0
        for each in found:
            label = "" if each.label is None else f"  {printable(each.label)}"
            print(f"{each.similarity:7.4f}  {printable(each.image)}{label}")
        return 0


def _draw(photo: str, found: tuple[LookAlike, ...], vectors: Embeddings, path: Path) -> None:
    """The photo and its look-alikes, those that are where they were."""
    from mobileone.images.any_image import as_image
    from mobileone.report.tiles import draw_tiles

    places = [(Path(vectors.folder) / each.image, each) for each in found[:MAX_DRAWN]]
    tiles = [(as_image(photo).decode(), "the photo")]
    tiles += [
        (as_image(place).decode(), f"{each.similarity:.3f}\n{each.label or ''}")
        for place, each in places
        if place.is_file()
    ]
    draw_tiles(tiles, path)
