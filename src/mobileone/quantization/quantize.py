"""Quantise a network: calibrate it, and let the pipeline write the file and compare it with float."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from mobileone.backends.c.symbols import CSymbols, Visibility
from mobileone.backends.export_options import ExportOptions, tensor_spec
from mobileone.backends.fused_layers import layers_of
from mobileone.backends.manifest import Manifest
from mobileone.backends.quantized_network import QuantizedNetwork
from mobileone.backends.table import BACKENDS, find_backend
from mobileone.backends.writer import find_int8_writer
from mobileone.errors import ConfigError, ExportError, MobileOneWarning
from mobileone.exporting.pipeline import (
    Evidence,
    choose_target,
    describe,
    feature_specs,
    outputs_of,
    ready,
    ready_either,
    weights_sha256,
    write_artifact,
)
from mobileone.inference.classifier import logits_in_batches
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.input_spec import Size, sides
from mobileone.model.features import Network
from mobileone.model.network import MobileOne
from mobileone.processor import saturates_bytes
from mobileone.quantization.calibration_images import DEFAULT_IMAGES, calibration_images, doubts
from mobileone.quantization.layer_errors import LayerError, noisy_layer, trace_errors
from mobileone.quantization.quantize_layers import quantize_layers
from mobileone.quantization.ranges import Range
from mobileone.quantization.rounding import WeightBits

NOT_ITS_OWN = (
    "the float network's calibrated probabilities and thresholds are not this file's, as integers move "
    "logits; calibrate the file itself"
)
NUM_COMPARED = 16  # images whose feature maps are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeResult:
    """A finished int8 artifact.

    Attributes:
        path: its main file.
        manifest: what lies beside it.
        layers: which layers the error comes from, in order of execution.
        float_bytes: size of the float32 weights.
        warnings: what is suspicious about the calibration images, and what is not as in the file here.
    """

    path: Path
    manifest: Manifest
    layers: Sequence[LayerError]
    float_bytes: int
    warnings: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "path": str(self.path),
            "manifest": self.manifest.to_dict(),
            "layers": [asdict(layer) for layer in self.layers],
            "float_bytes": self.float_bytes,
            "int8_bytes": self.manifest.size_bytes,
            "warnings": list(self.warnings),
        }


def quantize(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    images: Tensor | str | os.PathLike[str],
    format: str,
    rule: Range = "mse",
    weight_bits: WeightBits = 8,
    batch_size: int = 1,
    prefix: str | None = None,
    visibility: Visibility | None = None,
    source: str = "",
    force: bool = False,
) -> QuantizeResult:
    """An int8 network for another runtime, calibrated on photos: uint8 pixels (N, H, W, C) in, logits out.

    Every convolution is int8, with one scale an output channel. Channels are equalised across ReLUs, weights
    rounded so that the layer's output changes least, biases corrected: docs/quantization.md derives it.

    Args:
        model: a MobileOne or a FeatureExtractor in eval mode, in float; it is fused where it is not.
        path: the file to write, with the format's suffix; or a folder, where it is named after the variant.
        images: photos of the kind that the network will see: a folder, a list, shards or a data set of the
            hub, of which 100 are taken (fewer where there are fewer), or pixels cut to the network's size,
            uint8 (N, C, size, size).
        format: a backend that backends/table.py has written in int8, such as onnx or litert.
        rule: how the ranges of activations are chosen.
        weight_bits: of every weight, 8 or 7. Seven cost accuracy, and let ONNX Runtime and OpenVINO compute
            what is in the file on processors without a dot product of bytes, where two products of eight-bit
            weights may not fit into 16 bits.
        batch_size: images at a time.
        prefix: of format c: what all names of its functions begin with; None is mobileone_net.
        visibility: of format c: who sees its functions, `public`, `hidden` or `static`; None is public.
        source: where the model came from, for the manifest.
        force: replace what is there.

    Warns:
        MobileOneWarning: where few photos leave a layer less than 10 dB of signal over its noise.

    Raises:
        ConfigError: on weights of other bits, images of another size, a format without int8, a prefix that
            is no C identifier or for another format than c, or an existing file without `force`.
        DataError: on a place without images, or with one that cannot be decoded.
        ExportError: if the network cannot be quantised or gives NaN; nothing is written then.
        MissingExtraError: if a library is not installed.

    >>> import tempfile
    >>> from mobileone import create_model, Variant
    >>> model = create_model(Variant("small", (8, 8, 8, 16), depths=(1, 1, 1, 1)), num_classes=4).eval()
    >>> model.set_input_size(32)
    >>> photos = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    >>> done = quantize(model, Path(tempfile.mkdtemp()) / "small.onnx", images=photos, format="onnx")
    >>> done.manifest.precision
    'int8'
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    if weight_bits not in get_args(WeightBits):
        raise ConfigError(f"weight_bits must be 7 or 8, got {weight_bits}")
    symbols = _symbols(format, prefix, visibility)
    target = check_target(model, path, format=format, force=force)
    network = ready_either(model)
    if not isinstance(images, Tensor):
        images = calibration_images(images, network.input_spec)
    _check_images(images, network.in_chans, sides(network.input_spec.size))
    expected = _vectors(network, images)
    if not expected.isfinite().all():
        raise ExportError("the network gives NaN or infinite logits in float already; it cannot be quantized")
    quantized = quantize_layers(layers_of(network), images, rule=rule, weight_bits=weight_bits)
    options = {
        "batch": batch_size,
        "rule": rule,
        "weight_bits": weight_bits,
        "calibration_images": len(images),
    }
    if symbols is not None:
        options |= asdict(symbols)
    manifest = write_quantized(
        quantized,
        network,
        target,
        format=format,
        images=images,
        expected=expected,
        source=source,
        options=options,
        symbols=symbols,
    )
    layers = trace_errors(quantized, images)
    if (noisy := noisy_layer(layers, len(images), enough=DEFAULT_IMAGES)) is not None:
        warnings.warn(noisy, MobileOneWarning, stacklevel=2)
    return QuantizeResult(
        path=target,
        manifest=manifest,
        layers=layers,
        float_bytes=4 * quantized.layers.num_parameters,
        # Averages are no classes: which one is largest says nothing of the images.
        warnings=[
            *doubts(images, expected if manifest.num_classes else expected[:, :1]),
            *([NOT_ITS_OWN] if _has_decision(network) else []),
            *_saturation(format, weight_bits),
        ],
    )


def _saturation(format: str, weight_bits: WeightBits) -> list[str]:
    """What this processor makes of the file, where that is not what is in it."""
    runtime = find_backend(format)
    if not runtime.saturates or weight_bits < 8 or not saturates_bytes():
        return []
    return [
        f"{runtime.runtime} adds products of bytes in 16 bits on this processor (AVX2 without VNNI), where "
        "those of eight-bit weights saturate: figures here are worse than elsewhere; if it is to run on such "
        "processors, take weights of seven bits (weight_bits=7, --weight-bits 7)"
    ]


def _has_decision(network: Network) -> bool:
    return isinstance(network, MobileOne) and network.decision is not None


def _vectors(network: Network, images: Tensor) -> Tensor:
    """Float logits (N, classes); of a network that gives feature maps the averages of the last (N, C)."""
    if isinstance(network, MobileOne):
        return logits_in_batches(TorchClassifier(network), images)
    return torch.cat(
        [outputs_of(network, part)[-1].mean((2, 3)) for part in torch.split(images, NUM_COMPARED)]
    )


def check_target(model: nn.Module, path: str | os.PathLike[str], *, format: str, force: bool) -> Path:
    """The file that will be written, before any work.

    Raises:
        ConfigError: on a format without int8, another format's suffix, an existing file without `force`, or
            a FeatureExtractor where the format has no feature maps.
        MissingExtraError: if a library is not installed.
    """
    writer = find_int8_writer(format)
    target = choose_target(model, path, find_backend(format), precision="int8", force=force)
    writer.check()
    return target


def write_quantized(
    quantized: QuantizedNetwork,
    network: Network,
    target: Path,
    *,
    format: str,
    images: Tensor,
    expected: Tensor,
    source: str = "",
    options: Mapping[str, Any],
    symbols: CSymbols | None = None,
) -> Manifest:
    """Write a calibrated network and its manifest, once its runtime has executed it.

    Args:
        quantized: the network in int8.
        network: the same in float, fused.
        target: the file.
        format: what to write.
        images: photos to compare on, uint8 (N, C, size, size).
        expected: the float network's logits for them; not looked at where it gives feature maps.
        source: where the model came from.
        options: of the calibration, for the manifest; `batch` is how many images the file takes at a time.
        symbols: names of its functions, where it is source code; None is as it has them by itself.

    Raises:
        ExportError: if it cannot be written, or gives NaN; nothing is written then.
    """
    writer, batch = find_int8_writer(format), int(options.get("batch", 1))
    takes = ExportOptions(raw_input=True, batch=batch)
    # Maps are large: those of some images are enough.
    maps = [] if isinstance(network, MobileOne) else list(outputs_of(network, images[:NUM_COMPARED]))
    manifest = describe(
        network,
        format=format,
        precision="int8",
        tensor=tensor_spec(network, takes, layout="NHWC", uint8=True),
        options={"raw_input": True, "batch": batch, **options},
        versions=writer.versions(),
        source=source,
        features=feature_specs(network, maps, find_backend(format)) if maps else (),
        note="int8 weights and activations; compared with float on the calibration images"
        + (f"; {NOT_ITS_OWN}" if _has_decision(network) else ""),
    )
    evidence = Evidence(
        pixels=images[: len(maps[0])] if maps else images,
        expected=maps or expected,
        images="calibration images",
        tolerance=None,
    )
    names = {} if symbols is None else {"symbols": symbols}
    return write_artifact(
        lambda file: writer.write_int8(quantized, file, batch=batch, **names), target, manifest, evidence
    )


def _symbols(format: str, prefix: str | None, visibility: Visibility | None) -> CSymbols | None:
    """Names of functions, where the format has any.

    Raises:
        ConfigError: if it has none and some were given, or on a prefix that is no C identifier.
    """
    given = {
        name: value for name, value in (("prefix", prefix), ("visibility", visibility)) if value is not None
    }
    if not given:
        return None
    if not find_backend(format).is_source:
        sources = ", ".join(each.name for each in BACKENDS.values() if each.is_source)
        raise ConfigError(
            f"{' and '.join(given)} name functions of source code, which format {sources} is; "
            f"{format} files have none"
        )
    return CSymbols(**given)  # type: ignore[arg-type]


def _check_images(images: Tensor, in_chans: int, size: tuple[int, int]) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != (in_chans, *size):
        raise ConfigError(
            f"calibration images must be uint8 (N, {in_chans}, {size[0]}, {size[1]}), "
            f"got {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        )
    if not len(images):
        raise ConfigError("quantizing needs at least one calibration image")


class Quantizer:
    """Calibrates each network once and writes it for any number of runtimes: what `bench` takes.

    Args:
        images: as for `quantize`.
        rule: how the ranges of activations are chosen.
    """

    def __init__(self, images: Tensor | str | os.PathLike[str], *, rule: Range = "mse") -> None:
        self.images, self.rule = images, rule
        self._done: dict[tuple[str, Size], tuple[QuantizedNetwork, Tensor, Tensor]] = {}

    def __call__(self, model: MobileOne, path: Path, format: str, batch_size: int) -> Path:
        """Write the artifact; its path.

        Raises:
            ConfigError, ExportError, MissingExtraError: as `quantize`.
        """
        target = check_target(model, path, format=format, force=True)
        network = ready(model)
        key = (weights_sha256(network), network.input_spec.size)
        if key not in self._done:
            images = self.images
            if not isinstance(images, Tensor):
                images = calibration_images(images, network.input_spec)
            quantized = quantize_layers(layers_of(network), images, rule=self.rule)
            self._done[key] = quantized, images, logits_in_batches(TorchClassifier(network), images)
        quantized, images, expected = self._done[key]
        options = {"batch": batch_size, "rule": self.rule, "calibration_images": len(images)}
        write_quantized(
            quantized, network, target, format=format, images=images, expected=expected, options=options
        )
        return target
