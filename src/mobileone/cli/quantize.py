"""`mobileone quantize`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from mobileone.backends.manifest import manifest_path
from mobileone.backends.table import backend_of, writing
from mobileone.class_list import read_class_list
from mobileone.cli.arguments import format_choice
from mobileone.cli.output import megabytes, print_json
from mobileone.cli.target_file import refuse_existing
from mobileone.cli.words import FILE, INPUT_SIZE
from mobileone.errors import ConfigError
from mobileone.input_spec import Size
from mobileone.report.aligned_table import aligned_table

if TYPE_CHECKING:
    from mobileone.model.network import MobileOne
    from mobileone.quantization.layer_errors import Int8Comparison, LayerError
    from mobileone.quantization.quantize import QuantizeResult


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Write a model in int8 for another runtime, calibrated on photos, and say what that costs.

    Example: mobileone quantize mobileone_s0.apple_in1k --calib PHOTOS -o s0_int8.onnx
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help, with float weights; one with branches is fused."""
    calib: str
    """Photos of the kind that the model will see, labels not needed: a folder, a list (.csv, .json or .jsonl
    with a column image), shards, or hf:owner/name on the Hugging Face hub."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """File to write, or a folder; its manifest lies beside it, with .json behind its name."""
    format: Annotated[str | None, format_choice("int8")] = None
    """What to write. Default: what the file's suffix says."""
    num_images: int | None = None
    """Calibration photos. Default: 100, or all where there are fewer."""
    seed: int = 0
    """Of the choice of photos."""
    ranges: Literal["mse", "minmax", "percentile"] = "mse"
    """How the range of activations is chosen."""
    weight_bits: Literal[7, 8] = 8
    """Of every weight. Seven keep ONNX Runtime and OpenVINO exact on x86 without VNNI."""
    eval: str | None = None
    """Images to compare float and int8 on, labelled as for `mobileone test`; or photos without labels in a
    folder, which give agreement alone."""
    classes: Annotated[Path | None, FILE] = None
    """The model's class names in the order of its outputs, a line each or a JSON list, for the artifact too.
    Default: the model's own."""
    batch_size: int = 1
    """Images at a time."""
    prefix: str | None = None
    """Of format c: what the names of all its functions begin with, a C identifier. Default: mobileone_net."""
    visibility: Literal["public", "hidden", "static"] | None = None
    """Of format c: who sees its functions: everybody, one library's or program's parts, or the file that
    includes it. Default: public."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels. Default: the model's."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    force: bool = False
    """Overwrite an existing artifact."""
    json: bool = False
    """Print everything as JSON."""

    def run(self) -> int:
        kind = backend_of(self.output)
        name = self.format or (kind.name if kind else None)
        if name is None or name not in writing("int8"):
            raise ConfigError(
                f"{self.output} names no int8 format; pass --format {', '.join(writing('int8'))}"
            )
        if backend_of(self.model) is not None:
            raise ConfigError(
                f"{self.model} is an exported file, quantized or not; give the float model it was made from"
            )
        if kind is not None:
            refuse_existing(*kind.files(self.output), manifest_path(self.output), force=self.force)
        _refuse_unwritable(self.output)
        from mobileone.checkpoint.load import load_model
        from mobileone.quantization.calibration_images import calibration_images
        from mobileone.quantization.quantize import quantize

        model = load_model(self.model, form="inference", weights_key=self.weights_key)
        if self.input_size is not None:
            model.set_input_size(self.input_size)
        if self.classes is not None:
            model.class_names = read_class_list(self.classes)
        photos = calibration_images(self.calib, model.input_spec, num_images=self.num_images, seed=self.seed)
        done = quantize(
            model,
            self.output,
            images=photos,
            format=name,
            rule=self.ranges,
            weight_bits=self.weight_bits,
            batch_size=self.batch_size,
            prefix=self.prefix,
            visibility=self.visibility,
            source=self.model,
            force=self.force,
        )
        for warning in done.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        held = None if self.eval is None else _compare(model, done.path, self.eval)
        if self.json:
            print_json(done.to_dict() | {"eval": None if held is None else held.to_dict()})
        else:
            print(report(done, held))
        return 0


def _refuse_unwritable(output: Path) -> None:
    """A folder that cannot be written, before minutes of work."""
    folder = output if output.is_dir() else output.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"cannot write {output}: {folder} is no folder that may be written to")


def _compare(model: MobileOne, artifact: Path, data: str) -> Int8Comparison:
    """Float against int8 on every photo of a place."""
    from mobileone.backends.artifact import Artifact
    from mobileone.data.photos import read_photos
    from mobileone.quantization.compare_int8 import compare_int8

    photos = read_photos(data, num_classes=model.num_classes, class_names=model.class_names, task=model.task)
    return compare_int8(model, Artifact(artifact), photos)


def report(done: QuantizeResult, held: Int8Comparison | None) -> str:
    """Everything about the result, for people."""
    manifest, parity = done.manifest, done.manifest.parity
    assert parity is not None
    assert parity.top1_agreement is not None
    size, before = manifest.size_bytes, done.float_bytes
    lines = [
        f"wrote {done.path} ({megabytes(size)}) and {manifest_path(done.path).name}; "
        f"float32 weights are {megabytes(before)}, {before / size:.1f} times as much",
        f"runs in {parity.runtime}, {parity.precision}; input uint8 ({manifest.tensor.batch}, "
        f"{manifest.tensor.height}, {manifest.tensor.width}, {manifest.tensor.channels}), pixels",
        f"calibration  n {parity.num_images}  top-1 agreement {100 * parity.top1_agreement:.1f} % "
        "(it is fitted to these; --eval compares on others)",
    ]
    if held is not None:
        lines.append(comparison_line(held))
    return "\n".join([*lines, "", layer_table(done.layers), "", summary(done.layers)])


def comparison_line(held: Int8Comparison) -> str:
    """Float against int8 on other photos, one line."""
    noise = f"top-1 agreement {held.agreement:.1f} %  logits {held.sqnr_db:.1f} dB"
    line = f"evaluation   n {held.num_images}  {noise}"
    if held.float_acc1 is None:
        return line
    return (
        f"{line}  acc@1 float {held.float_acc1:.2f} int8 {held.int8_acc1:.2f}  "
        f"acc@5 float {held.float_acc5:.2f} int8 {held.int8_acc5:.2f}"
    )


def layer_table(layers: Any) -> str:
    """A row a layer: its kind, signal over noise, and its share of the noise in the logits."""
    rows = [
        [layer.name, layer.kind, f"{layer.sqnr_db:.1f}", f"{100 * layer.logit_share:.1f}"] for layer in layers
    ]
    return aligned_table(["layer", "kind", "SQNR dB", "% of the logits' noise"], rows)


def summary(layers: Any) -> str:
    """Which kinds of layer the error comes from, and the worst three."""
    kinds: dict[str, float] = {}
    for layer in layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0.0) + 100 * layer.logit_share
    worst: list[LayerError] = sorted(layers, key=lambda layer: -layer.logit_share)[:3]
    shares = ", ".join(f"{kind} {share:.0f} %" for kind, share in sorted(kinds.items(), key=lambda x: -x[1]))
    named = ", ".join(f"{layer.name} {100 * layer.logit_share:.0f} %" for layer in worst)
    return f"the error comes from {shares}; most from {named}"
