"""What stands between int8 and the processor's floor, operator by operator, on one thread.

OpenVINO and ONNX Runtime report each operator's time. LiteRT runs the whole graph as one XNNPACK delegate and
reports nothing, so graphs that end after each operator are timed, and their differences are the operators'.
Times are the fastest of the runs, µs; rates are multiply-accumulates a second. Weights are fresh: they do not
matter for speed.

    python -m benchmarks.int8_operators --variant s0
"""

import argparse
import collections
import datetime
import json
import math
import platform
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mobileone
from benchmarks.online_training import processor
from mobileone.backends.fused_layers import FusedLayers, layers_of
from mobileone.backends.litert.writer_int8 import litert_int8_model
from mobileone.backends.onnx.writer_int8 import onnx_int8_model
from mobileone.backends.openvino.writer_int8 import openvino_int8_model
from mobileone.backends.quantized_network import QuantizedNetwork
from mobileone.backends.quiet import quiet
from mobileone.exporting.parity import seeded_pictures
from mobileone.quantization.quantize_layers import quantize_layers

Times = dict[str, float]
GROUPS = ("bytes and border", "first convolution", "depthwise", "pointwise", "average, classifier")


def kinds(layers: FusedLayers) -> list[str]:
    """The group of every convolution."""
    return ["first convolution", *("depthwise" if c.is_depthwise else "pointwise" for c in layers.convs[1:])]


def group_macs(layers: FusedLayers) -> Times:
    """Multiply-accumulates of every group."""
    macs: Times = dict.fromkeys(GROUPS, 0.0)
    shape = (layers.input_spec.height, layers.input_spec.width)
    for conv, kind in zip(layers.convs, kinds(layers), strict=True):
        shape = conv.output_size(shape)
        macs[kind] += conv.weight.size * math.prod(shape)
    assert layers.classifier is not None
    macs[GROUPS[-1]] = layers.classifier.weight.size
    return macs


def openvino_times(quantized: QuantizedNetwork, image: np.ndarray, runs: int) -> Times:
    import openvino as ov

    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERF_COUNT": True,
    }
    request = ov.Core().compile_model(openvino_int8_model(quantized), "CPU", hints).create_infer_request()
    fastest: dict[str, float] = {}
    order: list[tuple[str, str]] = []
    for _ in range(runs):
        request.infer([image])
        executed = [p for p in request.profiling_info if "NOT_RUN" not in str(p.status)]
        order = [(p.node_name, p.node_type) for p in executed]
        for node in executed:
            spent = node.real_time.total_seconds() * 1e6
            fastest[node.node_name] = min(spent, fastest.get(node.node_name, math.inf))
    times, seen = dict.fromkeys(GROUPS, 0.0), False
    for name, kind in order:
        if "Convolution" in kind:
            group = (
                "depthwise" if kind == "GroupConvolution" else "pointwise" if seen else "first convolution"
            )
            seen = True
        else:
            group = GROUPS[-1] if seen else GROUPS[0]
        times[group] += fastest[name]
    return times


def onnx_times(quantized: QuantizedNetwork, image: np.ndarray, runs: int) -> Times:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling, options.log_severity_level = 1, True, 3
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "ort")
        session = ort.InferenceSession(
            onnx_int8_model(quantized), options, providers=["CPUExecutionProvider"]
        )
        for _ in range(runs):
            session.run(None, {"images": image})
        events = json.loads(Path(session.end_profiling()).read_text())
    fastest: dict[str, float] = collections.defaultdict(lambda: math.inf)
    for event in events:
        name = event["name"].removesuffix("_kernel_time")
        if name != event["name"]:
            fastest[name] = min(fastest[name], event["dur"])
    group_of = dict(zip((c.name for c in quantized.layers.convs), kinds(quantized.layers), strict=True))
    times = dict.fromkeys(GROUPS, 0.0)
    for name, spent in fastest.items():
        group = group_of.get(name.partition(".sum")[0])
        if group is None:
            group = GROUPS[0] if name.startswith(("bordered", "planes", "images")) else GROUPS[-1]
        times[group] += spent
    return times


def litert_times(quantized: QuantizedNetwork, image: np.ndarray, runs: int) -> Times:
    first = next(c for c in quantized.layers.convs)
    ends = ["bordered.2", *(conv.name for conv in quantized.layers.convs), "logits"]
    groups = [GROUPS[0], *kinds(quantized.layers), GROUPS[-1]]
    assert first.name == ends[1]
    times, before = dict.fromkeys(GROUPS, 0.0), 0.0
    for end, group in zip(ends, groups, strict=True):
        spent = fastest_prefix(litert_int8_model(quantized), end, image, runs)
        times[group] += max(spent - before, 0.0)
        before = max(spent, before)
    return times


def fastest_prefix(content: bytes, end: str, image: np.ndarray, runs: int) -> float:
    """µs of the graph that stops at the tensor of that name."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    index = next(i for i, tensor in enumerate(graph.tensors) if tensor.name == end.encode())
    last = next(i for i, operator in enumerate(graph.operators) if index in operator.outputs)
    graph.operators, graph.outputs, model.signatureDefs = graph.operators[: last + 1], [index], []
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    with quiet():
        session = Interpreter(model_content=bytes(builder.Output()), num_threads=1)
        session.allocate_tensors()
    session.set_tensor(session.get_input_details()[0]["index"], image)
    return 1e6 * min(seconds(session.invoke) for _ in range(runs))


def seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def lines(times: Sequence[Times], macs: Times) -> Iterable[str]:
    yield f"{'':<22}" + "".join(f"{name:>26}" for name in ("OpenVINO", "ONNX Runtime", "LiteRT"))
    for group in GROUPS:
        cells = (
            f"{each[group]:.0f} µs {macs[group] / max(each[group], 1e-9) / 1e3:6.0f} GMAC/s" for each in times
        )
        yield f"{group:<22}" + "".join(f"{cell:>26}" for cell in cells)
    yield f"{'sum':<22}" + "".join(f"{sum(each.values()):.0f} µs{'':13}".rjust(26) for each in times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="s0")
    parser.add_argument("--runs", default=60, type=int)
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "ai-edge-litert"))
    print(
        f"# {datetime.date.today()}, {processor()}, 1 thread, Python {platform.python_version()}, {packages}"
    )
    torch.manual_seed(0)
    model = mobileone.create_model(f"mobileone_{arguments.variant}", form="inference").eval()
    quantized = quantize_layers(layers_of(model), seeded_pictures(model.input_spec, number=4))
    image = seeded_pictures(model.input_spec, number=1).permute(0, 2, 3, 1).contiguous().numpy()
    measured = [f(quantized, image, arguments.runs) for f in (openvino_times, onnx_times, litert_times)]
    print(f"# mobileone_{arguments.variant}, int8, batch 1, fastest of {arguments.runs} runs\n")
    print("\n".join(lines(measured, group_macs(quantized.layers))))


if __name__ == "__main__":
    main()
