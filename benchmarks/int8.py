"""Claims of docs/quantization.md: what int8 costs in accuracy, and what it gains in speed, in each runtime.

Accuracy: the photos are split, 100 to calibrate on and the others to score on, several times; every int8
network is executed by the runtime it is for. Against it stand the defaults of the well-kept quantisers on the
same splits: NNCF (also the mixed preset with accurate bias correction) and ONNX Runtime's quantize_static.
Differences are paired, photo by photo; a photo that is scored in several splits counts once, with its mean.
The same networks, and some calibrated on 100 of its training photos, are scored on Imagenette's validation
photos, over all 1000 classes. These are many more, but of ten classes, kept at 128 × 128 pixels and scaled
up, and all but 134 of the 3925 are photos that ImageNet trains on: not the same test as ImageNet's own.
With `--trained RUN` it is a network that was trained here, calibrated on 100 of its training photos and
scored on all its validation photos.

Speed: everything in one process, taken in turn, round by round; a network's input is what it takes, so ours
read bytes and the others floats that are normalised already.

NNCF stands beside ours where the extra `nncf` is installed.

    python -m benchmarks.int8                        # both, S0
    python -m benchmarks.int8 --speed --variant s1   # speed with fresh weights
    python -m benchmarks.int8 --trained runs/net --data imagenette
"""

import argparse
import datetime
import math
import platform
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import mobileone
from benchmarks.online_training import processor
from mobileone.backends.artifact import Artifact
from mobileone.backends.fused_layers import layers_of
from mobileone.backends.quiet import quiet
from mobileone.backends.table import BACKENDS
from mobileone.data.folder import find_images
from mobileone.data.pixels import normalize, to_tensor
from mobileone.exporting.parity import seeded_pictures
from mobileone.imagenet import resolve_classes
from mobileone.images.eval_transform import EvalTransform
from mobileone.inference.classifier import logits_in_batches
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.input_spec import size_text
from mobileone.model.network import MobileOne
from mobileone.quantization.layer_errors import sqnr_db
from mobileone.quantization.quantize import write_quantized
from mobileone.quantization.quantize_layers import quantize_layers
from mobileone.quantization.rounding import WeightBits

WEIGHTS = Path("../shared/data/apple_s0/mobileone_s0.pth.tar")
PHOTOS = Path("../shared/data/imagenet_val_300")
IMAGENETTE = Path("../shared/data/imagenette_128_q70.zip")
APPLES = "S0, Apple's weights"
CHUNK = 500
SUFFIXES: dict[str, str] = {
    "openvino": ".xml",
    "litert": ".tflite",
    "executorch": ".pte",
    "onnx": ".onnx",
}
FORMATS = SUFFIXES | {"c": ".c"}
SATURATING = [name for name in FORMATS if BACKENDS[name].saturates]  # weights of seven bits are for these
PACKAGES = ("torch", "onnxruntime", "openvino", "ai-edge-litert", "executorch")
HAS_NNCF = find_spec("nncf") is not None
Logits = Callable[[Tensor], Tensor]
Run = Callable[[], Any]


@dataclass
class Scores:
    """Photo by photo over all splits: index, right in float, right in int8, same class."""

    rows: list[tuple[int, float, float, float]]
    sqnr: list[float]

    def line(self, name: str) -> str:
        table = np.array(self.rows)
        photos = [table[table[:, 0] == index, 1:].mean(0) for index in np.unique(table[:, 0])]
        values = 100 * np.array(photos)
        difference = values[:, 1] - values[:, 0]
        cells = (interval(values[:, 0]), interval(values[:, 1]), interval(difference), interval(values[:, 2]))
        spread = f"{min(self.sqnr):.1f} to {max(self.sqnr):.1f}"
        return f"{name:<34}" + "".join(f"{cell:>16}" for cell in cells) + f"{spread:>16}"


def interval(values: np.ndarray) -> str:
    """Mean and half a 95 % interval."""
    return f"{values.mean():.2f} ± {1.96 * values.std(ddof=1) / math.sqrt(len(values)):.2f}"


def ours(
    model: MobileOne, images: Tensor, folder: Path, *, bits: WeightBits = 8, formats: Iterable[str] = FORMATS
) -> Mapping[str, Path]:
    """Calibrated once, written for every runtime."""
    quantized, expected = (
        quantize_layers(layers_of(model), images, weight_bits=bits),
        logits_in_batches(TorchClassifier(model), images),
    )
    paths = {name: folder / f"int{bits}{FORMATS[name]}" for name in formats}
    for name, path in paths.items():
        write_quantized(quantized, model, path, format=name, images=images, expected=expected, options={})
    return paths


def nncf_model(model: MobileOne, images: Tensor, folder: Path, **options: Any) -> Any:
    """The float network quantised by NNCF, an `openvino.Model` for normalised images."""
    import nncf
    import openvino as ov

    path = folder / "float.xml"
    mobileone.export(model, path, format="openvino", force=True)
    batches = normalize(images, model.input_spec).numpy()
    data = nncf.Dataset([batches[i : i + 1] for i in range(len(batches))])
    with quiet():
        return nncf.quantize(
            ov.Core().read_model(path),
            data,
            subset_size=len(batches),
            target_device=nncf.TargetDevice.CPU,
            **options,
        )


def static_onnx(model: MobileOne, images: Tensor, folder: Path) -> Path:
    """The float network quantised by ONNX Runtime, QDQ, per channel, uint8 activations."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            batches = normalize(images, model.input_spec).numpy()
            self.rest = iter([{"images": batches[i : i + 1]} for i in range(len(batches))])

        def get_next(self) -> Any:
            return next(self.rest, None)

    path, ready, done = folder / "float.onnx", folder / "ready.onnx", folder / "static.onnx"
    mobileone.export(model, path, format="onnx", force=True)
    with quiet():
        quant_pre_process(path, ready)
        quantize_static(
            ready,
            done,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return done


def openvino_request(model: Any, threads: int) -> Any:
    import openvino as ov

    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    return ov.Core().compile_model(model, "CPU", hints).create_infer_request()


def onnx_session(path: Path, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def one_by_one(run: Callable[[np.ndarray], np.ndarray], model: MobileOne) -> Logits:
    """Logits of pixels from a network that takes one normalised image."""

    def logits(pixels: Tensor) -> Tensor:
        batches = normalize(pixels, model.input_spec).numpy()
        return torch.from_numpy(np.concatenate([run(batches[i : i + 1]) for i in range(len(batches))]))

    return logits


def contenders(model: MobileOne, images: Tensor, folder: Path) -> Iterator[tuple[str, Logits]]:
    """Every int8 network of one split, made as it is asked for."""
    for name, path in ours(model, images, folder).items():
        yield f"ours, {name}", Artifact(path).logits
    for name, path in ours(model, images, folder, bits=7, formats=SATURATING).items():
        yield f"ours, weights of 7 bits, {name}", Artifact(path).logits
    if HAS_NNCF:
        import nncf

        mixed = {"preset": nncf.QuantizationPreset.MIXED, "fast_bias_correction": False}
        for title, options in (("NNCF default", {}), ("NNCF mixed, accurate bias", mixed)):
            request = openvino_request(nncf_model(model, images, folder, **options), 2)
            yield f"{title}, openvino", one_by_one(lambda x, r=request: r.infer([x])[0].copy(), model)
    session = onnx_session(static_onnx(model, images, folder), 2)
    yield "quantize_static, onnx", one_by_one(lambda x: session.run(None, {"images": x})[0], model)


@dataclass(frozen=True)
class Photos:
    """Pixels, uint8 (N, 3, 224, 224), their classes and the float network's logits."""

    pixels: Tensor
    labels: Tensor
    expected: Tensor

    def __getitem__(self, chosen: Tensor) -> "Photos":
        return Photos(self.pixels[chosen], self.labels[chosen], self.expected[chosen])


def photos_in(folder: Path, model: MobileOne, split: str | None = None, limit: int | None = None) -> Photos:
    """Photos in folders named as the network's classes; some chosen at random where there is a limit."""
    source = find_images(folder, split=split, classes=resolve_classes(model.num_classes, model.class_names))
    order = list(range(len(source)))
    if limit is not None:
        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:limit].tolist()
    transform = EvalTransform.from_spec(model.input_spec)
    pixels = torch.stack([to_tensor(transform(source.read(i))) for i in order])
    return Photos(
        pixels, torch.from_numpy(source.labels)[order], logits_in_batches(TorchClassifier(model), pixels)
    )


def print_accuracy(model: MobileOne, splits: int, limit: int | None) -> None:
    photos = photos_in(PHOTOS, model)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(IMAGENETTE) as archive:
            archive.extractall(folder)
        root = Path(folder) / "imagenette_128"
        training = photos_in(root, model, "train", 100)
        many = photos_in(root, model, "val", limit)
    everything = torch.arange(len(many.labels))
    scores: dict[str, Scores] = {}
    others: dict[str, Scores] = {}
    for split in range(splits):
        order = torch.randperm(len(photos.labels), generator=torch.Generator().manual_seed(split))
        chosen, held = order[:100], order[100:]
        with tempfile.TemporaryDirectory() as folder:
            for name, logits in contenders(model, photos.pixels[chosen], Path(folder)):
                add(scores, name, held, photos[held], logits)
                add(others, name, everything, many, logits)
                print(f"# {datetime.datetime.now():%H:%M:%S} split {split + 1}: {name}", file=sys.stderr)
        done = f"{split + 1} split{'s' * (split > 0)}: calibrated on 100 photos"
        print_table(scores, f"{APPLES}, {done}, scored on {len(held)} others")
        print_table(others, f"{APPLES}, {done}, scored on {len(everything)} of Imagenette")
    own: dict[str, Scores] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, logits in contenders(model, training.pixels, Path(folder)):
            add(own, name, everything, many, logits)
    done = f"calibrated on 100 training photos of Imagenette, scored on {len(everything)} others"
    print_table(own, f"{APPLES}, {done}")


def print_trained(run: Path, data: Path) -> None:
    """Of the best network of a run, on the data that it was trained on."""
    model = mobileone.load_model(run, form="inference")
    training, held = photos_in(data, model, "train", 100), photos_in(data, model, "val")
    scores: dict[str, Scores] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, logits in contenders(model, training.pixels, Path(folder)):
            add(scores, name, torch.arange(len(held.labels)), held, logits)
    size = size_text(model.input_spec.size)
    done = f"calibrated on 100 training photos, scored on {len(held.labels)} validation photos"
    print_table(scores, f"{model.variant.name} of {run.name}, {size} px, {done}")


def print_table(scores: Mapping[str, Scores], done: str) -> None:
    """All splits so far."""
    print(f"\n{done};")
    print("percent ± half a 95 % interval over the photos\n")
    header = ("top-1 float", "top-1 int8", "difference", "agreement", "logits SQNR dB")
    print(f"{'':<34}" + "".join(f"{cell:>16}" for cell in header))
    for name, score in scores.items():
        print(score.line(name), flush=True)


def add(scores: dict[str, Scores], name: str, indices: Tensor, photos: Photos, logits: Logits) -> None:
    got = torch.cat([logits(part) for part in photos.pixels.split(CHUNK)])
    first, second = photos.expected.argmax(1), got.argmax(1)
    columns = (indices, first == photos.labels, second == photos.labels, first == second)
    score = scores.setdefault(name, Scores([], []))
    score.rows += zip(*(column.tolist() for column in columns), strict=True)
    centred = [each - each.mean(1, keepdim=True) for each in (photos.expected, got)]
    score.sqnr.append(sqnr_db(*centred))


def timed(model: MobileOne, images: Tensor, folder: Path, threads: int) -> Mapping[str, Run]:
    """Everything that is timed, as calls without arguments."""
    spec = model.input_spec
    runs: dict[str, Run] = {}
    for precision in ("int8", "fp32"):
        for name, suffix in SUFFIXES.items():
            path = folder / f"{precision}{suffix}"
            if precision == "fp32" and not path.exists():
                mobileone.export(model, path, format=name, raw_input=True)
            if precision == "int8" and not path.exists():
                ours(model, images, folder)
            session = Artifact(path, threads=threads).session
            batch = images[:1].permute(0, 2, 3, 1).contiguous().numpy()
            runs[f"{'ours' if precision == 'int8' else 'float32'}, {name}"] = lambda s=session, b=batch: (
                s.run(b)
            )
    normalized = normalize(images[:1], spec).numpy()
    if HAS_NNCF:
        import openvino

        made = folder / "nncf.xml"
        if not made.exists():
            openvino.save_model(nncf_model(model, images, folder), made, compress_to_fp16=False)
        request = openvino_request(made, threads)
        runs["NNCF default, openvino"] = lambda: request.infer([normalized], share_inputs=True)
    if not (folder / "static.onnx").exists():
        static_onnx(model, images, folder)
    session = onnx_session(folder / "static.onnx", threads)
    runs["quantize_static, onnx"] = lambda: session.run(None, {"images": normalized})
    return runs


def print_speed(model: MobileOne, rounds: int) -> None:
    images = seeded_pictures(model.input_spec, number=32)
    with tempfile.TemporaryDirectory() as folder:
        for threads in (1, 2):
            times = in_turn(timed(model, images, Path(folder), threads), rounds)
            title = f"{threads} thread{'s' * (threads > 1)}"
            print(f"\n{model.variant.name}, batch 1, {title}, {rounds} rounds in turn")
            print(f"{'':<28}{'min ms':>9}{'median ms':>11}{'p90 ms':>9}{'of its default':>24}")
            for name, values in times.items():
                print(speed_line(name, values, times), flush=True)
    print("\nof its default: ratio to the runtime's own quantiser, or to float32; median [quartiles]")


DEFAULTS = {"ours, openvino": "NNCF default, openvino", "ours, onnx": "quantize_static, onnx"}


def speed_line(name: str, values: Sequence[float], times: Mapping[str, Sequence[float]]) -> str:
    default = DEFAULTS.get(name, f"float32, {name.rpartition(' ')[2]}")
    default = default if default in times else f"float32, {name.rpartition(' ')[2]}"
    ratios = [a / b for a, b in zip(values, times[default], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    cell = f"{middle:.2f} [{low:.2f}, {high:.2f}]" if default != name else "1"
    least, median, tail = (1e3 * float(v) for v in (min(values), *np.percentile(values, (50, 90))))
    return f"{name:<28}{least:>9.3f}{median:>11.3f}{tail:>9.3f}{cell:>24}"


def in_turn(runs: Mapping[str, Run], rounds: int) -> Mapping[str, Sequence[float]]:
    """Seconds of every call, round by round, each twice in a row and the second counted.

    The first call of the two brings the network's weights back into the caches that the others emptied.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 10):
        for name, run in runs.items():
            run()
            start = time.perf_counter()
            run()
            if round_number >= 10:
                times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="s0")
    parser.add_argument("--splits", default=3, type=int)
    parser.add_argument("--limit", type=int, help="score on so many of Imagenette's photos, not all 3925")
    parser.add_argument("--rounds", default=200, type=int)
    parser.add_argument("--accuracy", action="store_true", help="only that")
    parser.add_argument("--speed", action="store_true", help="only that")
    parser.add_argument("--trained", type=Path, metavar="RUN", help="a run's network on --data; only that")
    parser.add_argument("--data", type=Path, help="of --trained: a folder with train/ and val/")
    arguments = parser.parse_args()
    try:
        versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    except PackageNotFoundError as error:
        sys.exit(f"this benchmark needs {error.name}; pip install -c constraints.txt -e '.[export]'")
    if HAS_NNCF:
        versions += f", nncf {version('nncf')}"
    else:
        print("NNCF is left out, it is not installed: pip install -c constraints.txt -e '.[nncf]'")
    print(
        f"# {datetime.date.today()}, {processor()}, Python {platform.python_version()}, {versions}",
        flush=True,
    )
    if arguments.trained is not None:
        if arguments.data is None:
            parser.error("--trained needs --data, the folder that the run was trained on")
        print_trained(arguments.trained, arguments.data)
        return
    if arguments.variant == "s0" and WEIGHTS.exists():
        model = mobileone.load_model(WEIGHTS, form="inference")
    else:
        torch.manual_seed(0)
        model = mobileone.create_model(f"mobileone_{arguments.variant}", form="inference").eval()
    if not arguments.speed:
        print_accuracy(model, arguments.splits, arguments.limit)
    if not arguments.accuracy:
        print_speed(model, arguments.rounds)


if __name__ == "__main__":
    main()
