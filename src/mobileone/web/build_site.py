"""A folder of static files with networks in it, that any browser opens: what `mobileone web` writes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from mobileone import __version__
from mobileone.atomic import refuse_existing
from mobileone.backends.artifact import Artifact
from mobileone.backends.table import backend_of
from mobileone.c_compiler import zig_compiler
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.published import licence_text
from mobileone.errors import ConfigError, ExportError, MobileOneError
from mobileone.exporting.export import export
from mobileone.file_hash import sha256_of_path
from mobileone.imagenet import human_name, resolve_classes
from mobileone.images.resample import goes_down_first
from mobileone.input_spec import InputSpec, sides
from mobileone.licences import LICENCES
from mobileone.outside_text import json_text
from mobileone.quantization.quantize import quantize
from mobileone.web.golden import golden_values, write_photo
from mobileone.web.litert_archive import VERSION, add_litert
from mobileone.web.wasm_compiler import compile_network, compile_pixels

SITE_FORMAT = "mobileone.site/1"
NETWORKS, TERMS, LITERT = "networks", "licences", "litert"
Runtime = Literal["litert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteResult:
    """What was built.

    Attributes:
        path: the folder.
        networks: their entries in site.json.
        size_bytes: of all files.
        licences: what the page carries of others' licences, a line each.
    """

    path: Path
    networks: tuple[dict[str, Any], ...]
    size_bytes: int
    licences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        brief = ("id", "title", "precision", "runtime", "file", "bytes", "sha256", "licence")
        return {
            "path": str(self.path),
            "bytes": self.size_bytes,
            "networks": [{name: each[name] for name in brief} for each in self.networks],
            "licences": list(self.licences),
        }


def build_site(
    models: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    calib: str | os.PathLike[str] | None = None,
    runtime: Runtime | None = None,
    runtime_archive: str | os.PathLike[str] | None = None,
    weights_key: str | None = None,
    force: bool = False,
) -> SiteResult:
    """A page with networks in it, as static files for any server; once seen, it works offline.

    Args:
        models: networks: float ones, which are quantized, or `.c` files that `quantize` wrote.
        output: the folder to make.
        calib: photos that float networks are calibrated on.
        runtime: another one beside our engine: "litert" puts float networks into the page in fp32 too, or
            only so without `calib`.
        runtime_archive: its npm archive; None takes it from the cache, or has npm fetch it.
        weights_key: which weights of a float network's file that has several.
        force: replace the folder.

    Raises:
        ConfigError: on no network, a float one without `calib`, an exported file of another format, or an
            existing folder without `force`.
        ExportError: if the engine cannot run a network; nothing is written then.
        MissingExtraError: if the compiler for WebAssembly is not installed.
    """
    target = Path(output)
    refuse_existing(target, force=force)
    if not models:
        raise ConfigError("a site needs at least one network")
    for model in models:
        _check_model(model, calib, runtime, weights_key)
    if runtime_archive is not None and runtime is None:
        raise ConfigError("runtime_archive needs runtime='litert'")
    zig_compiler()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as work:
            site = Path(work) / "site"
            result = _Site(site, Path(work), calib, runtime, weights_key).write(models, runtime_archive)
            for path in (site, *site.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)  # a server of another user reads them
            if target.exists():
                shutil.rmtree(target)
            site.replace(target)
    except OSError as error:
        raise MobileOneError(f"cannot write {target}: {error.strerror or error}") from error
    return SiteResult(
        path=target,
        networks=tuple(result["networks"]),
        size_bytes=sum(each.stat().st_size for each in target.rglob("*") if each.is_file()),
        licences=tuple(f"{each['name']}: {', '.join(each['networks'])}" for each in result["licences"]),
    )


def _check_model(
    model: str | os.PathLike[str],
    calib: str | os.PathLike[str] | None,
    runtime: Runtime | None,
    weights_key: str | None,
) -> None:
    kind = backend_of(model)
    if kind is not None and weights_key is not None:
        raise ConfigError(f"{model} is an exported file, so weights_key= does not apply to it")
    if kind is not None and kind.name != "c" and kind.name != runtime:
        raise ConfigError(
            f"{model} is an exported file; a page runs float models, which are quantized for it, or *.c "
            "files of `mobileone quantize --format c`"
        )
    if kind is None and calib is None and runtime is None:
        raise ConfigError(f"{model} is a float model; give calib=, a folder of photos to quantize it with")


@dataclass
class _Site:
    """A site that is being written."""

    folder: Path
    work: Path
    calib: str | os.PathLike[str] | None
    runtime: Runtime | None
    weights_key: str | None

    def write(
        self, models: Sequence[str | os.PathLike[str]], archive: str | os.PathLike[str] | None
    ) -> dict[str, Any]:
        """All files; what site.json says."""
        (self.folder / NETWORKS).mkdir(parents=True)
        networks: list[dict[str, Any]] = []
        licences: dict[str, dict[str, Any]] = {}
        litert = None
        if self.runtime is not None:
            add_litert(self.folder / LITERT, archive)
            litert = {"files": f"{LITERT}/", "version": VERSION}
        for number, model in enumerate(models):
            for file in artifacts(model, self.work / str(number), self.calib, self.runtime, self.weights_key):
                artifact = Artifact(file, threads=1)
                entry = self.add(artifact, {each["id"] for each in networks})
                networks.append(entry)
                licence = artifact.manifest.licence
                if licence is not None:
                    entry["licence"] = _add_licence(self.folder, licence)
                    known = {"name": LICENCES[licence], "file": entry["licence"], "networks": []}
                    licences.setdefault(licence, known)["networks"].append(entry["id"])
        _copy_page(self.folder)
        compile_pixels(self.folder / "pixels.wasm")
        description = {
            "format": SITE_FORMAT,
            "made": f"mobileone {__version__}",
            "pixels": {"file": "pixels.wasm", "sha256": sha256_of_path(self.folder / "pixels.wasm")},
            "networks": networks,
            "licences": list(licences.values()),
            "decoding": write_photo(self.folder),
            "litert": litert,
        }
        (self.folder / "site.json").write_text(json_text(description) + "\n", encoding="utf-8")
        pairs = [[each["relaxed"]["file"], each["file"]] for each in networks if each["relaxed"]]
        _finish_service_worker(self.folder, pairs)
        return description

    def add(self, artifact: Artifact, taken: set[str]) -> dict[str, Any]:
        """A network's file; its entry in site.json."""
        manifest, source = artifact.manifest, artifact.path
        channels = manifest.input_spec.in_chans
        if channels not in (1, 3):
            raise ExportError(
                f"{source}: a page shows pictures to networks of 1 or 3 channels, this one takes {channels}"
            )
        if not manifest.num_classes:
            raise ExportError(f"{source}: a page shows classes, and this network has no classifier")
        ours = manifest.format == "c"
        name = _free_name(f"{manifest.variant}-{manifest.precision}", taken)
        made = self.folder / NETWORKS / "new"
        if ours:
            compile_network(source, made, relaxed=True)
            relaxed = self.named(made, f"{name}.relaxed", ".wasm")
            compile_network(source, made)
            file = self.named(made, name, ".wasm")
        else:
            shutil.copyfile(source, made)
            relaxed, file = None, self.named(made, name, source.suffix)
        classes = resolve_classes(manifest.num_classes, manifest.class_names)
        decision = manifest.decision
        return {
            "id": name,
            "title": f"{manifest.variant}, {manifest.precision}" + ("" if ours else ", LiteRT.js"),
            "runtime": "engine" if ours else "litert",
            "precision": manifest.precision,
            "task": manifest.task,
            **file,
            "relaxed": relaxed,
            "input": input_entry(manifest.input_spec),
            "outputs": manifest.num_classes,
            "classes": None if classes is None else [human_name(each) for each in classes],
            "decision": None if decision is None else decision.to_dict() | {"evidence": {}},
            "golden": golden_values(artifact),
            "map": ours,
            "licence": None,
            "source": Path(manifest.source).name or source.name,
        }

    def named(self, made: Path, name: str, suffix: str) -> dict[str, Any]:
        """A file under the name that its content gives it, as site.json tells of it."""
        digest = sha256_of_path(made)
        path = made.rename(made.with_name(f"{name}.{digest[:12]}{suffix}"))
        return {
            "file": path.relative_to(self.folder).as_posix(),
            "sha256": digest,
            "bytes": path.stat().st_size,
        }


def artifacts(
    model: str | os.PathLike[str],
    folder: Path,
    calib: str | os.PathLike[str] | None,
    runtime: Runtime | None,
    weights_key: str | None,
) -> list[Path]:
    """A network's files, exported into a folder."""
    if backend_of(model) is not None:
        return [Path(model)]
    network = load_model(model, form="inference", weights_key=weights_key)
    folder.mkdir()
    files = []
    if calib is not None:
        files.append(folder / "net.c")
        quantize(network, files[-1], images=calib, format="c", source=str(model))
    if runtime is not None:
        files.append(folder / "net.tflite")
        export(network, files[-1], format=runtime, raw_input=True, source=str(model))
    return files


def _free_name(wanted: str, taken: set[str]) -> str:
    base = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in wanted)
    return next(name for name in (base, *(f"{base}-{i}" for i in range(2, 10_000))) if name not in taken)


def input_entry(spec: InputSpec) -> dict[str, Any]:
    """How a picture becomes a network's input, in the words of site.json."""
    return {
        "height": spec.height,
        "width": spec.width,
        "channels": spec.in_chans,
        "fit": spec.fit,
        "resize": list(sides(spec.resize_size)),
        "interpolation": spec.interpolation,
        "exif": spec.exif,
        "down_first": goes_down_first(),
        "border": list(spec.border),
    }


def _add_licence(site: Path, name: str) -> str:
    (site / TERMS).mkdir(exist_ok=True)
    (site / TERMS / f"{name}.txt").write_text(licence_text(name), encoding="utf-8")
    return f"{TERMS}/{name}.txt"


def _copy_page(site: Path) -> None:
    """The page's own files, and the style of all our pages."""
    with resources.as_file(resources.files("mobileone.web") / "static") as static:
        shutil.copytree(static, site, dirs_exist_ok=True, copy_function=shutil.copyfile)
    style = resources.files("mobileone.report") / "page.css"
    (site / "page.css").write_text(style.read_text(encoding="utf-8"), encoding="utf-8")


def _finish_service_worker(site: Path, pairs: list[list[str]]) -> None:
    """Tell it all files, and a name for them together: another site is another cache.

    Args:
        site: the folder.
        pairs: modules with relaxed SIMD, and those for browsers without it.
    """
    script = site / "service_worker.js"
    files = sorted(
        path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file() and path != script
    )
    digest = hashlib.sha256()
    for name in files:
        digest.update(f"{name} {sha256_of_path(site / name)}\n".encode())
    later = [name for name in files if name.startswith(f"{LITERT}/") or name.endswith(".tflite")]
    first = "".join(
        f"const {name} = {json_text(value)};\n"
        for name, value in (
            ("VERSION", digest.hexdigest()[:16]),
            ("FILES", [name for name in files if name not in later]),
            ("LATER", later),
            ("PAIRS", pairs),
        )
    )
    text = script.read_text(encoding="utf-8")
    before, mark, behind = text.partition("// The builder puts VERSION, FILES, LATER and PAIRS here.\n")
    assert mark
    script.write_text(before + first + behind, encoding="utf-8")
