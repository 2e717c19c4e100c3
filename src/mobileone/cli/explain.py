"""`mobileone explain`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mobileone.backends.table import backend_of
from mobileone.cli.target_file import require_drawing
from mobileone.cli.words import INPUT_SIZE
from mobileone.errors import ConfigError
from mobileone.input_spec import Size

METHOD = (
    "class activation maps (arXiv 1512.04150), exact here: a map's mean plus the class's bias is the logit"
)


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Where in an image a model sees a class: class activation maps as a picture.

    Example: mobileone explain mobileone_s0.apple_in1k photo.jpg --png maps.png
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help."""
    images: Annotated[Positional[tuple[str, ...]], arg(metavar="IMAGE ...")]
    """Image files, 24 at most."""
    png: Path
    """The picture to write: a row an image, bright where the class's logit comes from."""
    topk: int = 3
    """How many of the likeliest classes to explain."""
    class_name: Annotated[str | None, arg(name="class")] = None
    """Explain this class instead, by its folder's name, a human name or its number."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels. A larger one
    gives a finer map. Default: the model's."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> int:
        from mobileone.checkpoint.load import load_model
        from mobileone.evaluation.explain import MAX_IMAGES, draw_explanations, explain
        from mobileone.ranks.device import pick_device

        require_drawing(self.png, ".png")
        if backend_of(self.model) is not None:
            raise ConfigError(
                f"{self.model} is an exported file, which hides its features; explain its model"
            )
        if not 1 <= len(self.images) <= MAX_IMAGES:
            raise ConfigError(f"explain takes 1 to {MAX_IMAGES} image files, got {len(self.images)}")
        model = load_model(
            self.model, form="inference", device=pick_device(self.device), weights_key=self.weights_key
        )
        if self.input_size is not None:
            model.set_input_size(self.input_size)
        rows = explain(model, self.images, topk=self.topk, class_name=self.class_name)
        draw_explanations(rows, self.png)
        print(self.png)
        print(METHOD, file=sys.stderr)
        return 0
