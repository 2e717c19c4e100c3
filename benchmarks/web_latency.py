"""Claims of docs/web.md: the page's engine beside LiteRT.js and onnxruntime-web, in one headless Chromium.

All take the same int8 network, bytes in and logits out, each in a worker of its own. A round asks each
candidate in turn for a few runs, so that what disturbs the machine disturbs all; minima and medians are over
all rounds. Then: the bytes of the site as a server sends them, first visits up to the first answer, in
browsers without cache, and what a 12-megapixel photo costs before the network sees it.

S0 has Apple's weights, calibrated on 16 photos; the others' archives are fetched by npm, or
given.

    python -m benchmarks.web_latency
    python -m benchmarks.web_latency > benchmarks/results/web_latency.txt
    python -m benchmarks.web_latency --rounds 3 --runs 20 --without onnx
"""

from __future__ import annotations

import argparse
import base64
import datetime
import gzip
import importlib.util
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from mobileone.checkpoint.load import load_model
from mobileone.quantization.calibration_images import calibration_images
from mobileone.quantization.quantize import Quantizer
from mobileone.serving.listen import listen
from mobileone.web.build_site import build_site
from mobileone.web.golden import golden_picture
from mobileone.web.host import SiteServer
from mobileone.web.litert_archive import VERSION

WEIGHTS = Path("../shared/data/apple_s0/mobileone_s0.pth.tar")
PHOTOS = Path("../shared/data/imagenet_val_300")
ONNX_PACKAGE, ONNX_FILES = (
    "onnxruntime-web@1.30.0",
    ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
)
# A worker like the page's: {threads} loads, {runs} measures.
ONNX_WORKER = """
import * as ort from "./onnx/ort.wasm.min.mjs";
let session = null, input = null;
self.onmessage = async ({ data }) => {
  try {
    if (data.threads) {
      ort.env.wasm.wasmPaths = new URL("onnx/", self.location.href).href;
      ort.env.wasm.numThreads = data.threads;
      session = await ort.InferenceSession.create("net.onnx", { executionProviders: ["wasm"] });
      const pixels = new Uint8Array(224 * 224 * 3);
      input = { [session.inputNames[0]]: new ort.Tensor("uint8", pixels, [1, 224, 224, 3]) };
    }
    const milliseconds = [];
    for (let i = 0; i < (data.runs ?? 0); i++) {
      const begin = performance.now();
      await session.run(input);
      milliseconds.push(performance.now() - begin);
    }
    self.postMessage({ result: { milliseconds } });
  } catch (reason) { self.postMessage({ error: String(reason) }); }
};
"""
# Candidates by name: the page's worker of one network and a number of threads, or the one above.
PAGE = """
globalThis.candidates = new Map();
globalThis.begin = async (name, network, threads) => {
  const { startEngine } = await import("./protocol.js");
  if (network !== null) {
    const engine = startEngine();
    const { kernels } = await engine.ask("load", { network, threads });
    const measure = (runs) => engine.ask("measure", { network, threads, runs, warmup: 5 });
    candidates.set(name, async (runs) => (await measure(runs)).milliseconds);
    return kernels;
  }
  const worker = new Worker("onnx_worker.js", { type: "module" });
  const ask = (request) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data: { error, result } }) =>
      error ? reject(new Error(error)) : resolve(result.milliseconds);
    worker.postMessage(request);
  });
  await ask({ threads });
  candidates.set(name, async (runs) => (await ask({ runs: runs + 5 })).slice(5));
};
"""
FIRST_ANSWER = """(async (network, data) => {
  const { startEngine } = await import("./protocol.js");
  const image = new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], { type: "image/jpeg" });
  await startEngine().ask("classify", { network, image });
  return performance.now();  // since the navigation began
})"""
LARGE_PHOTO = """(async (network, data) => {
  const { startEngine } = await import("./protocol.js");
  const engine = startEngine(), times = [];
  const image = new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], { type: "image/jpeg" });
  for (let i = 0; i < 8; i++) times.push((await engine.ask("classify", { network, image })).times);
  return times;
})"""


def main() -> None:
    options = read_options()
    run_chromium = browser_of_the_tests()
    print(f"$ python -m benchmarks.web_latency {' '.join(sys.argv[1:])}".rstrip())
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        site, candidates = prepare(work, options)
        with serving(site.path) as address:
            with run_chromium(work / "profile") as browser:
                say_where(browser)
                tab = browser.open(f"{address}site.json")
                tab.evaluate(PAGE)
                measure_latency(tab, candidates, options)
                tab.command("Page.close")
            report_size(build_site([engine_file(work, options)], work / "alone"))
            first_visits(run_chromium, work, address, candidates[0][1], options.visits)
            with run_chromium(work / "another") as browser:
                large_photo(browser.open(f"{address}site.json"), candidates[0][1])


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--without", choices=("litert", "onnx"), action="append", default=[])
    parser.add_argument("--files", type=Path, help="net.c, net.tflite, net.onnx that quantize wrote before")
    parser.add_argument("--litert-archive", type=Path)
    parser.add_argument("--onnx-archive", type=Path)
    return parser.parse_args()


def browser_of_the_tests() -> Any:
    """`running_chromium` of tests/web."""
    path = Path(__file__).resolve().parents[1] / "tests" / "web" / "chromium.py"
    spec = importlib.util.spec_from_file_location("chromium", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.running_chromium


def engine_file(work: Path, options: argparse.Namespace) -> Path:
    """Our network's."""
    folder: Path = options.files or work
    return folder / "net.c"


def prepare(work: Path, options: argparse.Namespace) -> tuple[Any, list[tuple[str, str | None, int]]]:
    """The site, and (name, network, threads) of each candidate."""
    suffixes = {"c": "c", "litert": "tflite", "onnx": "onnx"}
    files = {
        name: (options.files or work) / f"net.{suffix}"
        for name, suffix in suffixes.items()
        if name not in options.without
    }
    if options.files is None:
        model = load_model(WEIGHTS, form="inference")
        quantizer = Quantizer(calibration_images(PHOTOS, model.input_spec, num_images=16))
        for name, path in files.items():
            quantizer(model, path, name, 1)
    ours = [files[name] for name in ("c", "litert") if name in files]
    site = build_site(
        ours,
        work / "site",
        runtime="litert" if "litert" in files else None,
        runtime_archive=options.litert_archive if "litert" in files else None,
    )
    networks = {each["runtime"]: each["id"] for each in site.networks}
    threads = [int(each) for each in options.threads.split(",")]
    candidates: list[tuple[str, str | None, int]] = [("engine", networks["engine"], n) for n in threads]
    if "litert" in files:
        candidates += [(f"LiteRT.js {VERSION}", networks["litert"], n) for n in threads]
    if "onnx" in files:
        add_onnx(site.path, files["onnx"], options.onnx_archive, work)
        candidates += [(ONNX_PACKAGE.replace("@", " "), None, n) for n in threads]
    return site, candidates


def add_onnx(site: Path, network: Path, archive: Path | None, work: Path) -> None:
    """onnxruntime-web, its worker and the network, in the site."""
    if archive is None:
        command = ["npm", "pack", ONNX_PACKAGE, "--silent", "--pack-destination", str(work)]
        subprocess.run(command, check=True, cwd=work, stdout=subprocess.DEVNULL)
        archive = next(work.glob("onnxruntime-web-*.tgz"))
    (site / "onnx").mkdir()
    with tarfile.open(archive) as packed:
        for name in ONNX_FILES:
            file = packed.extractfile(f"package/dist/{name}")
            assert file is not None
            (site / "onnx" / name).write_bytes(file.read())
    (site / "onnx_worker.js").write_text(ONNX_WORKER, encoding="utf-8")
    (site / "net.onnx").write_bytes(network.read_bytes())


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The server of `mobileone web --serve`."""
    with listen("127.0.0.1", 0) as listener:
        server = SiteServer(listener, folder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{listener.getsockname()[1]}/"
        server.shutdown()


def say_where(browser: Any) -> None:
    product = browser.command("Browser.getVersion")["product"]
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"# {datetime.date.today()}, {product}, {processor()}, {os.cpu_count()} cores, load {load}")
    print(f"# Python {platform.python_version()}, Pillow {version('pillow')}, S0 int8\n")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def measure_latency(
    tab: Any, candidates: list[tuple[str, str | None, int]], options: argparse.Namespace
) -> None:
    found: dict[str, list[float]] = {}
    names = [f"{name}, {threads} thread{'s' if threads > 1 else ''}" for name, _, threads in candidates]
    for name, (_, network, threads) in zip(names, candidates, strict=True):
        kernels = tab.evaluate(f"begin({name!r}, {json.dumps(network)}, {threads})", timeout=120)
        if kernels:
            print(f"# {name}: kernels {kernels}")
        found[name] = []
    for _ in range(options.rounds):
        for name in names:
            found[name] += tab.evaluate(f"candidates.get({name!r})({options.runs})", timeout=300)
    print(
        f"{'ms, ' + str(options.rounds * options.runs) + ' runs':36}      min      p10   median   min / ours"
    )
    ours = {
        threads: min(found[name])
        for name, (runtime, _, threads) in zip(names, candidates, strict=True)
        if runtime == "engine"
    }
    for name, (_, _, threads) in zip(names, candidates, strict=True):
        times = sorted(found[name])
        figures = (times[0], times[len(times) // 10], statistics.median(times), times[0] / ours[threads])
        print(f"{name:36}" + "".join(f" {figure:8.2f}" for figure in figures))


def report_size(site: Any) -> None:
    """Of what a visitor of a site of the int8 network alone fetches; of its two modules, the larger one."""
    exact = tuple(each["file"] for each in site.networks if each["relaxed"])
    files = [
        path
        for path in site.path.rglob("*")
        if path.is_file() and not path.relative_to(site.path).as_posix().startswith(exact)
    ]
    sent = sum(len(gzip.compress(path.read_bytes())) for path in files)
    print(f"\nint8 site: {len(files)} files, {sent / 1e6:.2f} MB as a server compresses them")


def photo(height: int, width: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(golden_picture(height, width, 1)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def first_visits(run_chromium: Any, work: Path, address: str, network: str, visits: int) -> None:
    """From the navigation to the first answer, with an empty cache each."""
    data = base64.b64encode(photo(500, 375)).decode()
    seconds = []
    for number in range(visits):
        with run_chromium(work / f"visit{number}") as browser:
            tab = browser.open(f"{address}site.json")
            tab.go(f"{address}protocol.js?{number}")
            seconds.append(tab.evaluate(f"{FIRST_ANSWER}({network!r}, {data!r})") / 1000)
            time.sleep(0.2)
    print(f"first visit to first answer: {min(seconds):.2f} to {max(seconds):.2f} s, n = {visits}")


def large_photo(tab: Any, network: str) -> None:
    """A 12-megapixel JPEG, decoding and pre-processing apart."""
    data = base64.b64encode(photo(3000, 4000)).decode()
    times = tab.evaluate(f"{LARGE_PHOTO}({network!r}, {data!r})", timeout=120)
    for name in ("decode", "preprocess"):
        values = [each[name] for each in times]
        print(f"12 megapixels, {name}: {min(values):.0f} ms at best, {np.median(values):.0f} in the middle")


if __name__ == "__main__":
    main()
