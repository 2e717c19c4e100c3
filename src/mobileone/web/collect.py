"""What networks took on several devices, as their browsers measured it: a table and a picture.

Imports no torch.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileone.benchmarking.latency import Latency
from mobileone.errors import DataError
from mobileone.limits import JSON_BYTES
from mobileone.outside_text import printable
from mobileone.regular_file import parse_json_text, read_regular
from mobileone.report.aligned_table import aligned_table
from mobileone.report.figure import new_figure, save_figure
from mobileone.web.schema import fault

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARK = "#result="
BAR = "#2463c4"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebMeasurement:
    """One network with one number of threads on one device.

    Attributes:
        device: its name, as its user gave it.
        browser: name and version.
        made: date and time, ISO 8601.
        network: title.
        network_sha256: of its file, so that networks of the same title can be told apart.
        runtime: that computed it.
        kernels: of our engine, or what LiteRT.js ran on, at the end; None where the result does not tell.
        precision: of its arithmetic.
        threads: number.
        milliseconds: of each run, in their order.
        load_ms: fetching, checking and compiling.
        cold_ms: the first run.
        memory_bytes: of the network, where known.
        sustained: (second, median until then in ms) of a run without pause; empty where there was none.
        is_same: whether the device computed what Python had computed; None where that was not tried.
        is_close: whether it did so but for rounding.
    """

    device: str
    browser: str
    made: str
    network: str
    network_sha256: str
    runtime: str
    kernels: str | None
    precision: str
    threads: int
    milliseconds: tuple[float, ...]
    load_ms: float
    cold_ms: float
    memory_bytes: int | None
    sustained: tuple[tuple[float, float], ...]
    is_same: bool | None
    is_close: bool | None

    @property
    def latency(self) -> Latency:
        """Its statistics."""
        return Latency((tuple(value / 1e3 for value in self.milliseconds),), 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values with the statistics, for JSON."""
        latency = self.latency
        figures = {"min_ms": latency.min_ms, "median_ms": latency.median_ms, "p90_ms": latency.p90_ms}
        return asdict(self) | {name: round(value, 3) for name, value in figures.items()}


def collect(sources: Iterable[str | os.PathLike[str]]) -> tuple[WebMeasurement, ...]:
    """Results that the page gave on several devices.

    Args:
        sources: files with one result as JSON, a list of them, or links, a line each; or a link itself. The
            same result given twice counts once.

    Returns:
        Measurements by network, the fastest first.

    Raises:
        DataError: if a source is none of that, or not of the form mobileone.web/1.
    """
    schema = json.loads(files("mobileone.web").joinpath("static/result.schema.json").read_text("utf-8"))
    found: dict[WebMeasurement, None] = {}
    for source in sources:
        for result in _results(source):
            wrong = fault(result, schema)
            if wrong:
                raise _refusal(source, wrong)
            found |= dict.fromkeys(_measurements(result))
    if not found:
        raise DataError("the results hold no measurement; measure on the page before copying")
    return tuple(sorted(found, key=lambda each: (each.network, each.latency.median_ms)))


def collect_report(measurements: Sequence[WebMeasurement]) -> str:
    """A table, a line a measurement."""
    header = [
        "network",
        "device",
        "browser",
        "runtime",
        "precision",
        "threads",
        "min ms",
        "median ms",
        "p90 ms",
    ]
    header += ["cold ms", "after a minute", "as Python", "runs"]
    rows = []
    for each in measurements:
        latency = each.latency
        times = (latency.min_ms, latency.median_ms, latency.p90_ms, each.cold_ms)
        rows.append(
            [
                *(
                    each.network,
                    each.device,
                    each.browser[:40],
                    _runtime(each),
                    each.precision,
                    str(each.threads),
                ),
                *(f"{value:.2f}" for value in times),
                f"{each.sustained[-1][1]:.2f}" if each.sustained else "–",
                _agreement(each),
                str(len(each.milliseconds)),
            ]
        )
    return aligned_table(header, rows)


def draw_collected(measurements: Sequence[WebMeasurement], path: str | os.PathLike[str]) -> Path:
    """Draw the medians as bars, with lines from the least to p90, and runs without pause as curves; PNG.

    Raises:
        MissingExtraError: without matplotlib.
        MobileOneError: if the file cannot be written.
    """
    long = [each for each in measurements if each.sustained]
    networks = list(dict.fromkeys(each.network for each in measurements))
    counts = [sum(each.network == name for each in measurements) for name in networks]
    heights = [*(0.5 + 0.3 * count for count in counts), *([3.0] if long else [])]
    figure = new_figure(8, 0.8 + sum(heights))
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    widest = max(each.latency.p90_ms for each in measurements)
    for name, axes in zip(networks, panels, strict=False):
        _draw_medians(axes, [each for each in measurements if each.network == name], widest)
        axes.set_title(name, fontsize=10)
    if long:
        _draw_curves(panels[-1], long)
    return save_figure(figure, path)


def _draw_medians(axes: Axes, measurements: Sequence[WebMeasurement], widest: float) -> None:
    for place, each in enumerate(measurements):
        latency = each.latency
        axes.barh(place, latency.median_ms, color=BAR, height=0.6)
        axes.plot([latency.min_ms, latency.p90_ms], [place, place], color="#333", linewidth=1)
        axes.annotate(f" {latency.median_ms:.2f}", (latency.p90_ms, place), fontsize=8, va="center")
    axes.set_yticks(range(len(measurements)), [_name(each) for each in measurements], fontsize=8)
    axes.set_xlim(0, 1.12 * widest)
    axes.invert_yaxis()
    axes.set_xlabel("median latency, ms; line: least to 90 %", fontsize=8)


def _draw_curves(axes: Axes, measurements: Sequence[WebMeasurement]) -> None:
    for each in measurements:
        seconds, medians = zip(*each.sustained, strict=True)
        axes.plot(seconds, medians, label=f"{each.network}, {_name(each)}")
    axes.set_ylim(bottom=0)
    axes.set_title("without pause", fontsize=10)
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel("median, ms", fontsize=8)
    axes.legend(fontsize=7)


def _name(measurement: WebMeasurement) -> str:
    threads = "1 thread" if measurement.threads == 1 else f"{measurement.threads} threads"
    return f"{measurement.device}, {_runtime(measurement)} {measurement.precision}, {threads}"


def _agreement(measurement: WebMeasurement) -> str:
    if measurement.is_same is None:
        return "–"
    return "same" if measurement.is_same else "close" if measurement.is_close else "differs"


def _runtime(measurement: WebMeasurement) -> str:
    return measurement.runtime + (f" ({printable(measurement.kernels)})" if measurement.kernels else "")


def _results(source: str | os.PathLike[str]) -> list[Any]:
    """Parsed JSON of every result in a source, not looked at yet."""
    try:
        if MARK in os.fspath(source):
            text = os.fspath(source)
        else:
            text = read_regular(source, JSON_BYTES).decode("utf-8")
        parts = [text] if text.lstrip()[:1] in ("{", "[") else text.split()
        parsed = [parse_json_text(_unpacked(part) if MARK in part else part) for part in parts]
    except OSError as error:
        raise DataError(f"cannot read {printable(source)}: {error.strerror or error}") from None
    except ValueError as error:
        reason = (
            error.args[0] if error.args and str(error.args[0]).startswith("the link") else "it is no JSON"
        )
        raise _refusal(source, reason) from None
    return [each for one in parsed for each in (one if isinstance(one, list) else [one])]


def _unpacked(link: str) -> bytes:
    """The JSON that a link carries: deflated, in base64 for addresses.

    Raises:
        ValueError: if it is damaged, or larger than a file may be.
    """
    letters = link.partition(MARK)[2]
    inflate, most = zlib.decompressobj(-zlib.MAX_WBITS), JSON_BYTES.value
    try:
        packed = base64.b64decode(letters + "=" * (-len(letters) % 4), altchars=b"-_", validate=True)
        text = inflate.decompress(packed, most)
    except (binascii.Error, zlib.error):
        raise ValueError("the link's result is damaged; was all of it copied?") from None
    if not inflate.eof:
        raise ValueError("the link's result is damaged, or too large; was all of it copied?")
    return text


def _measurements(result: dict[str, Any]) -> list[WebMeasurement]:
    device = result["device"]
    same: dict[str, bool] = {}
    close: dict[str, bool] = {}
    for each in result["proofs"]:
        title, has_pixels = each["title"], each["pixelsDiffering"] == 0
        agrees = each["differing"] == 0
        same[title] = agrees and has_pixels and same.get(title, True)
        close[title] = (agrees or each.get("close", False)) and has_pixels and close.get(title, True)
    found = []
    for each in result["measurements"]:
        network, curve = each["network"], each["sustained"] or {"seconds": [], "milliseconds": []}
        found.append(
            WebMeasurement(
                device=device["name"],
                browser=device["browser"],
                made=result["made"],
                network=network["title"],
                network_sha256=network["sha256"],
                runtime=network["runtime"],
                kernels=each.get("kernels"),
                precision=network["precision"],
                threads=each["threads"],
                milliseconds=tuple(each["milliseconds"]),
                load_ms=each["loadMilliseconds"],
                cold_ms=each["coldMilliseconds"],
                memory_bytes=each["memoryBytes"],
                sustained=tuple(zip(curve["seconds"], curve["milliseconds"], strict=False)),
                is_same=same.get(network["title"]),
                is_close=close.get(network["title"]),
            )
        )
    return found


def _refusal(source: str | os.PathLike[str], reason: str) -> DataError:
    shown = printable(source)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}…"
    return DataError(
        f"{shown} is no result of the page (mobileone.web/1): {reason}; "
        "copy it there as JSON or as a link, or save it"
    )
