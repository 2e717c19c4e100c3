"""`mobileone export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mobileone.backends.manifest import Manifest, manifest_path
from mobileone.backends.table import BACKENDS, backend_of
from mobileone.cli.arguments import format_choice
from mobileone.cli.output import megabytes, print_json
from mobileone.cli.target_file import refuse_existing
from mobileone.cli.words import INPUT_SIZE
from mobileone.errors import ConfigError
from mobileone.input_spec import Size

if TYPE_CHECKING:
    from torch import Tensor

    from mobileone.input_spec import InputSpec

NUM_PHOTOS = 16


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model for another runtime, fused, with proof that it computes the same there.

    Example: mobileone export mobileone_s0.apple_in1k -o s0.onnx --raw-input
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help; one with branches is fused."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """File to write, or a folder; its manifest lies beside it, with .json behind its name."""
    format: Annotated[str | None, format_choice("fp32")] = None
    """What to write. Default: what the file's suffix says."""
    raw_input: bool = False
    """Put normalisation into the graph: it takes pixels 0..255, bytes (N, H, W, C) where the format can."""
    dynamic_batch: bool = False
    """Take any number of images at a time."""
    batch_size: int = 1
    """Images at a time, without --dynamic-batch."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels. Default: the model's."""
    half: bool = False
    """Store the weights as float16."""
    images: str | None = None
    """Photos to compare on, the first 16 of a folder, a list or shards. Default: eight seeded pictures."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    force: bool = False
    """Overwrite an existing artifact."""
    json: bool = False
    """Print the manifest as JSON."""

    def run(self) -> int:
        kind = backend_of(self.output)
        name = self.format or (kind.name if kind else None)
        if name is None:
            known = ", ".join(f"{each.suffix} ({each.name})" for each in BACKENDS.values())
            raise ConfigError(f"{self.output} does not tell the format; pass --format, or end it in {known}")
        if kind is not None:
            refuse_existing(*kind.files(self.output), manifest_path(self.output), force=self.force)
        from mobileone.checkpoint.load import load_model
        from mobileone.exporting.export import export

        model = load_model(self.model, form="inference", weights_key=self.weights_key)
        if self.input_size is not None:
            model.set_input_size(self.input_size)
        done = export(
            model,
            self.output,
            format=name,
            raw_input=self.raw_input,
            dynamic_batch=self.dynamic_batch,
            batch_size=self.batch_size,
            input_size=self.input_size,
            half=self.half,
            images=None if self.images is None else _first_photos(self.images, model.input_spec),
            source=self.model,
            force=self.force,
        )
        if self.json:
            print_json(done.to_dict())
            return 0
        print(
            f"wrote {done.path} ({megabytes(done.manifest.size_bytes)}) and {manifest_path(done.path).name}"
        )
        print(interface(done.manifest))
        print(done.manifest.parity or done.manifest.note)
        return 0


def _first_photos(place: str, spec: InputSpec) -> Tensor:
    """The first photos of a place as the model sees them, uint8 (N, 3, size, size)."""
    from mobileone.data.photos import photo_pixels, unlabelled_photos

    photos = unlabelled_photos(place)
    return photo_pixels((photos[i] for i in range(min(len(photos), NUM_PHOTOS))), spec)


def interface(manifest: Manifest) -> str:
    """What goes in and what comes out, two lines."""
    tensor = manifest.tensor
    shape = [
        "N" if tensor.batch is None else str(tensor.batch),
        *map(str, tensor.shape(tensor.batch or 1)[1:]),
    ]
    values = "RGB pixels, 0 to 255" if tensor.values == "pixels" else "normalised as the manifest says"
    return (
        f"input   {tensor.name}: {tensor.dtype} ({', '.join(shape)}) {tensor.layout}, {values}\n"
        f"output  logits: float32 ({shape[0]}, {manifest.num_outputs})"
        + ("" if manifest.num_classes else ", pooled features: the network has no classifier")
    )
