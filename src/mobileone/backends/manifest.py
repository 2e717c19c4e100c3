"""What an exported file needs to be used alone: JSON beside it, `s0.onnx.json` for `s0.onnx`. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mobileone.backends.table import BACKENDS, Precision, backend_of
from mobileone.decision import Decision
from mobileone.errors import ArtifactError, ConfigError
from mobileone.file_hash import sha256_of_path
from mobileone.input_spec import InputSpec
from mobileone.licences import LICENCES
from mobileone.limits import ARTIFACT_BYTES, CLASSES, INPUT_SIZE
from mobileone.regular_file import read_json
from mobileone.task import Task, checked_task

MANIFEST_VERSION = 1
MAX_TEXT = 4096  # characters, of a name or a note
Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """The one input of an exported network.

    Attributes:
        name: of the input in the graph.
        dtype: of its elements.
        layout: order of its axes.
        values: "normalized", (pixel / 255 − mean) / std; or "pixels", 0 to 255 as a camera gives them.
        batch: images at a time; None for any number.
        channels: of the image.
        height: pixels.
        width: pixels.
    """

    name: str
    dtype: Literal["float32", "uint8"]
    layout: Layout
    values: Literal["normalized", "pixels"]
    batch: int | None
    channels: int
    height: int
    width: int

    def check(self) -> None:
        """What anybody may claim of an input.

        Raises:
            ValueError: on another value.
        """
        choices = {
            "dtype": ("float32", "uint8"),
            "layout": get_args(Layout),
            "values": ("normalized", "pixels"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"tensor.{name} must be one of {', '.join(known)}")
        if not isinstance(self.name, str) or len(self.name) > MAX_TEXT:
            raise ValueError("tensor.name must be a text")
        for name in ("batch", "channels", "height", "width"):
            value = getattr(self, name)
            if not (name == "batch" and value is None) and not (
                value and _is_count(value, at_most=INPUT_SIZE.value)
            ):
                raise ValueError(f"tensor.{name} must be in 1..{INPUT_SIZE}, got {value!r:.40}")

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """Of an input of that many images.

        Raises:
            ConfigError: if the graph takes another number.

        >>> spec = TensorSpec(name="images", dtype="uint8", layout="NHWC", values="pixels", batch=None,
        ...                   channels=3, height=224, width=192)
        >>> spec.shape(2)
        (2, 224, 192, 3)
        """
        if self.batch not in (None, batch):
            raise ConfigError(f"the exported network takes {self.batch} images at a time, got {batch}")
        if self.layout == "NHWC":
            return batch, self.height, self.width, self.channels
        return batch, self.channels, self.height, self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One feature map of an exported network, float32.

    Attributes:
        name: of the output in the graph, where the format has names; `features_2` for level 2.
        layout: order of its axes.
        channels: of the level.
        height: in places of the map.
        width: the same.
    """

    name: str
    layout: Layout
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """For one image, in the graph's order of axes."""
        if self.layout == "NHWC":
            return self.height, self.width, self.channels
        return self.channels, self.height, self.width

    def check(self) -> None:
        """What anybody may claim of an output.

        Raises:
            ValueError: on another value.
        """
        if self.layout not in get_args(Layout) or not isinstance(self.name, str) or len(self.name) > MAX_TEXT:
            raise ValueError("name or layout of an output are none")
        for name, limit in (("channels", CLASSES), ("height", INPUT_SIZE), ("width", INPUT_SIZE)):
            value = getattr(self, name)
            if not (value and _is_count(value, at_most=limit.value)):
                raise ValueError(f"{name} of an output must be in 1..{limit}, got {value!r:.40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file of an artifact: its name beside the manifest, SHA-256 in hex, size in bytes."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How nearly an artifact, executed by its own runtime, gives what PyTorch gives in float32.

    Attributes:
        runtime: library and version.
        precision: in which the runtime computed.
        images: what both saw.
        num_images: how many.
        max_abs: greatest difference of a logit.
        max_rel: the same over the greatest logit.
        top1_agreement: share of the images with the same first class, in [0, 1]; None for feature maps, whose
            differences are the greatest of all maps.
        tolerance: the max_rel up to which it counts as the same function; None where it was not to be the
            same, as after quantising.
    """

    runtime: str
    precision: Precision
    images: str
    num_images: int
    max_abs: float
    max_rel: float
    top1_agreement: float | None
    tolerance: float | None

    def __str__(self) -> str:
        allowed = "" if self.tolerance is None else f" (tolerance {self.tolerance:.0e})"
        agreement = (
            "" if self.top1_agreement is None else f", top-1 agreement {100 * self.top1_agreement:.1f} %"
        )
        return (
            f"{self.runtime}, {self.precision}, against PyTorch on {self.num_images} {self.images}: "
            f"max abs difference {self.max_abs:.2e}, relative {self.max_rel:.1e}{allowed}"
            f"{agreement}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything about an artifact that its runtime does not tell.

    Attributes:
        format: of the artifact.
        files: what belongs to it, the main file first; a folder's files by their path in it.
        variant: name of the network.
        source: what it was exported from.
        weights_sha256: of the fused float weights, by name.
        precision: of the artifact's arithmetic, as written.
        tensor: its input; the output is `logits`, float32 (N, num_outputs), unless there are `features`.
        input_spec: how a photo becomes that input.
        num_classes: length of the logits; 0 for a network without classifier.
        class_names: one a class; None where unknown.
        options: of the export.
        versions: of the libraries that wrote it.
        parity: the check against PyTorch; None where it cannot run here, and `note` says why.
        note: what a user must know.
        embedding_size: length of the output of a network without classifier, its pooled features; else 0.
        features: the outputs of a network that gives feature maps, in the graph's order, finest first; else
            none.
        task: what the logits mean: `"singlelabel"`, softmax over all of them, or `"multilabel"`, a sigmoid
            each.
        decision: how its logits become probabilities and a sure answer, as `mobileone calibrate` found for
            this very file, or for the float network that it computes the same as; None where nobody did.
        licence: which of others' licences the weights keep, a name of `licences.LICENCES`; None if unknown.
        output_stride: of the network, 32, or 16 or 8 for one with dilation.
    """

    format: str
    files: tuple[FileRecord, ...]
    variant: str
    source: str
    weights_sha256: str
    precision: Precision
    tensor: TensorSpec
    input_spec: InputSpec
    num_classes: int
    class_names: tuple[str, ...] | None
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    parity: Parity | None
    note: str = ""
    embedding_size: int = 0
    features: tuple[OutputSpec, ...] = ()
    task: Task = "singlelabel"
    decision: Decision | None = None
    licence: str | None = None
    output_stride: int = 32
    manifest_version: int = field(default=MANIFEST_VERSION)

    @property
    def num_outputs(self) -> int:
        """Length of the logits, or of pooled features where there is no classifier; 0 for feature maps."""
        return self.num_classes or self.embedding_size

    @property
    def size_bytes(self) -> int:
        """Of all files together, the manifest left out."""
        return sum(each.size_bytes for each in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def write(self, path: Path) -> None:
        """As JSON, to that path."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        """The way back from `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: if the values are no manifest's.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"it holds no object but {type(values).__name__}")
        given = dict(values)
        if given.get("manifest_version") != MANIFEST_VERSION:
            raise ValueError(f"manifest version {given.get('manifest_version')!r}, not {MANIFEST_VERSION}")
        if given["format"] not in BACKENDS:
            raise ValueError(f"format {given['format']!r}")
        names = given["class_names"]
        if not isinstance(names, list | tuple | None):
            raise TypeError("class_names is no list")
        manifest = cls(
            **given
            | {
                "files": tuple(FileRecord(**each) for each in given["files"]),
                "tensor": TensorSpec(**given["tensor"]),
                "input_spec": InputSpec(**given["input_spec"]),
                "class_names": None if names is None else tuple(names),
                "features": tuple(OutputSpec(**each) for each in given.get("features", ())),
                "parity": None if given["parity"] is None else Parity(**given["parity"]),
                "decision": None if given.get("decision") is None else Decision.from_dict(given["decision"]),
            }
        )
        manifest._check()
        return manifest

    def _check(self) -> None:
        """What a manifest of anybody's may claim."""
        texts = (self.variant, self.source, self.weights_sha256, self.note, *(f.name for f in self.files))
        if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in texts):
            raise ValueError(f"a text in it is none, or longer than {MAX_TEXT} characters")
        checked_task(self.task)
        if self.licence is not None and self.licence not in LICENCES:
            raise ValueError(f"licence {self.licence!r:.40}, not one of {', '.join(LICENCES)}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision {self.precision!r:.40}")
        if self.output_stride not in (32, 16, 8):
            raise ValueError(f"output_stride must be 32, 16 or 8, got {self.output_stride!r:.40}")
        for name in ("num_classes", "embedding_size"):
            if not _is_count(value := getattr(self, name), at_most=CLASSES.value):
                raise ValueError(f"{name} must be in 0..{CLASSES}, got {value!r:.40}")
        names = self.class_names
        if names is not None and not all(isinstance(name, str) for name in names):
            raise ValueError("class_names must be texts")
        if names is not None and len(names) != self.num_classes:
            raise ValueError(f"{len(names)} class_names for {self.num_classes} classes")
        hashes = all(isinstance(file.sha256, str) for file in self.files)
        if not hashes or not all(_is_count(file.size_bytes, at_most=2**62) for file in self.files):
            raise ValueError("sha256 or size_bytes of a file are none")
        if self.size_bytes > ARTIFACT_BYTES.value:
            raise ValueError(f"its files have {self.size_bytes} bytes, over the limit of {ARTIFACT_BYTES}")
        if not isinstance(self.options, Mapping) or not isinstance(self.versions, Mapping):
            raise ValueError("options and versions must be objects")
        self.tensor.check()
        for output in self.features:
            output.check()
        if self.features and self.num_outputs:
            raise ValueError("it gives feature maps and a vector")
        if self.decision is not None:
            if not self.num_classes:
                raise ValueError("it has a decision and no classes")
            self.decision.check(self.num_classes)


def manifest_path(artifact: str | os.PathLike[str]) -> Path:
    """Where an artifact's manifest lies.

    >>> str(manifest_path("out/s0.onnx"))
    'out/s0.onnx.json'
    """
    path = Path(artifact)
    return path.with_name(f"{path.name}.json")


def record_files(artifact: Path, files: Iterable[Path]) -> tuple[FileRecord, ...]:
    """Hash and size of an artifact's files; folders are walked."""
    found = [
        each
        for path in files
        for each in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if each.is_file()
    ]
    return tuple(
        FileRecord(
            name=each.relative_to(artifact.parent).as_posix(),
            sha256=sha256_of_path(each),
            size_bytes=each.stat().st_size,
        )
        for each in found
    )


def read_manifest(artifact: str | os.PathLike[str]) -> Manifest:
    """The manifest beside an artifact, with every file checked against it.

    Raises:
        ArtifactError: if a file is missing or altered, or the manifest is missing, unreadable, or of
            another artifact.
    """
    path = Path(artifact)
    kind = backend_of(path)
    if kind is None:
        known = ", ".join(each.suffix for each in BACKENDS.values())
        raise ArtifactError(f"{path} is no exported network: its name ends in none of {known}")
    if not path.exists():
        raise ArtifactError(f"{path} is not there")
    beside = manifest_path(path)
    try:
        manifest = Manifest.from_dict(read_json(beside))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} has no manifest {beside.name} beside it, so its pre-processing and classes are unknown; "
            "copy both, or export again"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:300]
        raise ArtifactError(f"{beside} is no manifest of this package: {reason}; export again") from error
    if manifest.format != kind.name or not manifest.files or not _is_within(path, manifest.files[0].name):
        raise ArtifactError(f"{beside} does not match {path.name}: it is another artifact's; export again")
    for companion in kind.files(path)[1:]:
        if companion.name not in {record.name for record in manifest.files}:
            raise ArtifactError(
                f"{beside} does not list {companion.name}, which {kind.runtime} opens as well; export again"
            )
    for record in manifest.files:
        _check_file(path.parent / record.name, record, beside)
    return manifest


def _is_count(value: object, *, at_most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= at_most


def _is_within(artifact: Path, name: str) -> bool:
    return name == artifact.name or name.startswith(f"{artifact.name}/")


def _check_file(path: Path, record: FileRecord, manifest: Path) -> None:
    if ".." in Path(record.name).parts or Path(record.name).is_absolute():
        raise ArtifactError(f"{manifest} names a file outside its folder: {record.name}")
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; {manifest.name} counts it as part of the artifact")
    if path.stat().st_size != record.size_bytes or sha256_of_path(path) != record.sha256:
        raise ArtifactError(
            f"{path} is not the file that {manifest.name} describes (its SHA-256 differs); export again"
        )
