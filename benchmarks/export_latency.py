"""Latency of our exported fp32 files against a textbook conversion of the same network, and the floor.

    python -m benchmarks.export_latency --variants s0,s1 --threads 1,2

Both sides run in the same runtime, in processes of their own that take turns in random order; each round
gives one ratio. The textbook side is what the runtime's own tutorial says: a plain `nn.Sequential` of
convolutions, converted with default options and opened with default options, but for the threads and, where
the default would compute in lower precision, fp32. The floor is the least time that the machine's measured
fp32 multiply-adds and copies allow the network, layer by layer (`mobileone bench` prints the same).
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

WITHOUT_TEXTBOOK = ("litert",)
ONLY_FP32 = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")


class Textbook:
    """A session: any function of one array."""

    precision = "fp32"

    def __init__(self, runtime: str, run: Any) -> None:
        self.runtime, self.run = runtime, run


def open_onnx(path: str, *, threads: int) -> Textbook:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    return Textbook(f"ONNX Runtime {ort.__version__}", lambda x: session.run(None, {name: x})[0])


def open_openvino(path: str, *, threads: int) -> Textbook:
    import openvino as ov

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = ov.Core().compile_model(path, "CPU", options)
    return Textbook(f"OpenVINO {ov.__version__.partition('-')[0]}", lambda x: compiled(x)[0])


def open_executorch(path: str, *, threads: int) -> Textbook:
    import torch
    from executorch.extension.pybindings import portable_lib

    portable_lib._unsafe_reset_threadpool(threads)
    program = portable_lib._load_for_executorch(path)
    return Textbook("ExecuTorch", lambda x: program.forward((torch.from_numpy(x),))[0].numpy())


def open_ncnn(path: str, *, threads: int) -> Textbook:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    for option in ONLY_FP32:
        setattr(net.opt, option, False)
    net.load_param(path)
    net.load_model(path.removesuffix(".param") + ".bin")

    def run(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(x[0]))
            return np.array(extractor.extract("out0")[1])[None]

    return Textbook(f"ncnn {ncnn.__version__}", run)


def plain(model: Any) -> Any:
    """The fused network as a plain chain."""
    from torch import nn

    from mobileone.model.block import InferenceBlock

    layers: list[nn.Module] = []
    for block in model.modules():
        if isinstance(block, InferenceBlock):
            layers += [block.reparam_conv, nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.head.fc)
    # One level deeper, because pnnx writes Python attributes, which may not be called 0, 1, 2.
    return nn.Sequential(OrderedDict(network=network)).eval()


def convert(backend: str, net: Any, x: Any, folder: Path) -> Path:
    """What the runtime's tutorial does."""
    import torch

    if backend == "onnx":
        torch.onnx.export(net, (x,), str(folder / "plain.onnx"), dynamo=True, verbose=False)
        return folder / "plain.onnx"
    if backend == "openvino":
        import openvino as ov

        converted = ov.convert_model(net, example_input=x, input=[tuple(x.shape)])
        ov.save_model(converted, folder / "plain.xml", compress_to_fp16=False)
        return folder / "plain.xml"
    if backend == "executorch":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(net, (x,))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
        (folder / "plain.pte").write_bytes(lowered.buffer)
        return folder / "plain.pte"
    assert backend == "ncnn"
    import pnnx

    pnnx.export(net, str(folder / "plain.pt"), x, fp16=False)
    return folder / "plain.ncnn.param"


def candidates(variant: str, backends: list[str], threads: list[int], folder: Path) -> list[Any]:
    """Ours and the textbook's, for every backend and number of threads."""
    import torch

    import mobileone
    from mobileone.backends.quiet import quiet
    from mobileone.backends.table import BACKENDS
    from mobileone.benchmarking.candidate import Candidate
    from mobileone.benchmarking.candidate_builder import SESSION

    torch.manual_seed(0)
    model = mobileone.create_model(f"mobileone_{variant}", form="inference").eval()
    net, x = plain(model), torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        expected = net(x).numpy()
    inputs = {layout: folder / f"{layout}.npy" for layout in ("NCHW", "NHWC")}
    np.save(inputs["NCHW"], x.numpy())
    np.save(inputs["NHWC"], x.permute(0, 2, 3, 1).contiguous().numpy())
    found = []
    for backend in backends:
        own = mobileone.export(model, folder / f"ours{BACKENDS[backend].suffix}", format=backend)
        sides: list[tuple[str, str, dict[str, Any]]] = [
            ("ours", SESSION, {"artifact": str(own.path), "precision": "fp32"})
        ]
        if backend not in WITHOUT_TEXTBOOK:
            with quiet(), torch.no_grad():
                textbook = convert(backend, net, x, folder)
            opened = globals()[f"open_{backend}"](str(textbook), threads=1).run(x.numpy())
            difference = float(np.abs(opened - expected).max() / np.abs(expected).max())
            assert difference < 1e-4, f"the textbook conversion for {backend} is wrong by {difference}"
            sides.append(("textbook", f"{Path(__file__).resolve()}:open_{backend}", {"path": str(textbook)}))
        for number in threads:
            for side, opener, options in sides:
                found.append(
                    Candidate(
                        network=side,
                        backend=backend,
                        precision="fp32",
                        threads=number,
                        batch_size=1,
                        opener=opener,
                        options={**options, "threads": number},
                        inputs=inputs[own.manifest.tensor.layout if side == "ours" else "NCHW"],
                    )
                )
    return found


def ratios(ours: Any, textbook: Any) -> list[float]:
    """Of each round: our median over the textbook's."""
    pairs = zip(ours.latency.rounds, textbook.latency.rounds, strict=True)
    return sorted(statistics.median(a) / statistics.median(b) for a, b in pairs)


def print_variant(variant: str, arguments: argparse.Namespace) -> None:
    from mobileone.benchmarking.ceilings import measure_ceilings
    from mobileone.benchmarking.floor import NetworkShapes
    from mobileone.benchmarking.latency import percentile
    from mobileone.benchmarking.measure import MeasurementPlan, measure
    from mobileone.benchmarking.noise import Noise
    from mobileone.processor import usable_cores
    from mobileone.variants import VARIANTS

    cores = usable_cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = candidates(variant, arguments.backends, arguments.threads, folder)
        before = {number: measure_ceilings(cores[-number:]) for number in arguments.threads}
        noise = Noise(cores)
        plan = MeasurementPlan(
            runs=arguments.runs, budget_s=10, seed=0, cores=cores, workspace=folder, progress=False
        )
        rows = measure(chosen, plan, noise, reference=lambda network: None)
        ceilings = {n: own.best(measure_ceilings(cores[-n:])) for n, own in before.items()}
    print(f"\nmobileone_{variant}, batch 1, 224 px, fp32, {arguments.runs} runs a side in 20 rounds")
    print("ratio: ours over the textbook's, of round medians: median (10th to 90th percentile); of minima")
    print("backend     threads  ours ms (min)   textbook ms (min)     ratio                   of minima")
    by_key = {(row.network, row.backend, row.threads): row for row in rows}
    for backend in arguments.backends:
        for number in arguments.threads:
            own, other = by_key["ours", backend, number], by_key.get(("textbook", backend, number))
            if own.latency is None or (other and other.latency is None):
                print(f"{backend:<11} {number:>7}  {own.reason or (other and other.reason)}")
                continue
            line = f"{backend:<11} {number:>7}  {own.latency.median_ms:6.3f} ({own.latency.min_ms:6.3f})  "
            if other is None or other.latency is None:
                print(f"{line}   – its converter does not install beside this torch")
                continue
            found = ratios(own, other)
            print(
                f"{line}{other.latency.median_ms:9.3f} ({other.latency.min_ms:6.3f})     "
                f"{statistics.median(found):.3f} ({percentile(found, 10):.3f} to {percentile(found, 90):.3f})"
                f"   {own.latency.min_ms / other.latency.min_ms:.3f}"
            )
    network = NetworkShapes(variant=VARIANTS[f"mobileone_{variant}"], input_size=224, num_classes=1000)
    for number in arguments.threads:
        machine = ceilings[number].machine("fp32")
        floor = network.floor(machine, batch_size=1, precision="fp32")
        ran = [row for row in rows if row.network == "ours" and row.threads == number and row.latency]
        best = min(ran, key=lambda row: row.latency.median_ms if row.latency else 0.0)
        assert best.latency is not None
        print(
            f"threads {number}: {machine.peak_gflops:.0f} GFLOP/s ({machine.peak_source}); "
            f"best runtime {best.backend}, {best.latency.median_ms:.3f} ms"
        )
        for name, bound in (
            ("layer by layer", floor.milliseconds),
            ("arithmetic alone", floor.arithmetic_ms),
        ):
            print(
                f"  floor {name}: {bound:.3f} ms; median {best.latency.median_ms / bound:.3f} ×, "
                f"minimum {best.latency.min_ms / bound:.3f} ×"
            )
    print(
        f"reference loop above its best: {100 * noise.typical:.1f} % at the median, "
        f"{100 * noise.spread:.1f} % at p90; {noise.warning or 'the machine was quiet'}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variants", default="s0,s1", type=lambda text: text.split(","))
    parser.add_argument("--threads", default="1,2", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument(
        "--backends", default="onnx,openvino,litert,executorch,ncnn", type=lambda text: text.split(",")
    )
    parser.add_argument("--runs", default=200, type=int)
    arguments = parser.parse_args()
    import torch

    from mobileone.processor import processor_name

    print(
        f"# {datetime.date.today()}, {processor_name()}, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
    for variant in arguments.variants:
        print_variant(variant, arguments)


if __name__ == "__main__":
    main()
