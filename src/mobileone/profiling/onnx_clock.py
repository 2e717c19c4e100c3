"""ONNX Runtime as the clock: its own profile of every node it executes, run by run."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
import weakref
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileone.errors import ProfileError
from mobileone.profiling.clock import WARMUP_RUNS, Measurement, interquartile_mean
from mobileone.profiling.onnx_model import OnnxModel, initializers
from mobileone.profiling.operator import REPORT_NAMES, Operand, Operator

if TYPE_CHECKING:
    import onnx
    import onnxruntime

PROVIDER = "CPUExecutionProvider"
LAYOUT_SUFFIX = "_nchwc"  # of nodes that ONNX Runtime moved to its blocked layout
MAIN_KINDS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
DTYPES = {"float": "float32", "double": "float64"}
MAX_EVENTS = 900_000  # ONNX Runtime stops writing at a million, without a word


class OnnxClock:
    """Times a graph on the CPU.

    Args:
        model: the graph and its inputs.
        threads: of ONNX Runtime.
        optimized: let the runtime merge and rewrite operators as it does when deployed.

    Raises:
        ProfileError: if ONNX Runtime cannot execute the graph.
    """

    def __init__(self, model: OnnxModel, *, threads: int, optimized: bool = False) -> None:
        self.model = model
        self.folder = Path(tempfile.mkdtemp(prefix="mobileone-profile-"))
        self.remove_folder = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.executed = self.folder / "executed.onnx"
        try:
            self.profiled = self._session(threads, optimized=optimized, profile=True)
            self.plain = self._session(threads, optimized=optimized, profile=False)
            self.runs = 0
            self.latencies: list[float] = []
            for _ in range(WARMUP_RUNS):
                self._run(self.profiled)
                self._run(self.plain)
        except Exception as error:  # the runtime's own exceptions have no common base
            self.remove_folder()
            reason = " ".join(str(error).split())[:300]
            raise ProfileError(f"ONNX Runtime cannot execute this model: {reason}") from error

    def _session(self, threads: int, *, optimized: bool, profile: bool) -> onnxruntime.InferenceSession:
        import onnxruntime as ort

        options = ort.SessionOptions()
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = str(self.folder / "events")
            options.optimized_model_filepath = str(self.executed)
        return ort.InferenceSession(self.model.proto.SerializeToString(), options, providers=[PROVIDER])

    def _run(self, session: onnxruntime.InferenceSession) -> float:
        start = time.perf_counter()
        session.run(None, self.model.feeds)
        return 1e3 * (time.perf_counter() - start)

    def measure(self, runs: int) -> None:
        """Time that many more runs, and as many without the profiler."""
        num_events = (WARMUP_RUNS + self.runs + runs) * (len(self.model.proto.graph.node) + 2)
        if num_events > MAX_EVENTS:
            raise ProfileError(
                f"ONNX Runtime's profile does not hold {self.runs + runs} runs of "
                f"{len(self.model.proto.graph.node)} operators; take fewer runs"
            )
        for _ in range(runs):
            self._run(self.profiled)
        self.latencies.extend(self._run(self.plain) for _ in range(runs))
        self.runs += runs

    def finish(self) -> Measurement:
        """What was executed, with times; the profile's files are removed."""
        import onnx

        events = json.loads(Path(self.profiled.end_profiling()).read_text(encoding="utf-8"))
        graph = onnx.load(self.executed).graph
        self.remove_folder()
        nodes = _by_node(events)
        times = {name: [e["dur"] / 1e3 for e in found][WARMUP_RUNS:] for name, found in nodes.items()}
        operators = _operators(graph, nodes, times, self._layers(graph))
        timed = [times[op.name] for op in operators if op.time_ms is not None]
        return Measurement(
            operators=operators,
            operator_sums_ms=tuple(sum(run) for run in zip(*timed, strict=True)),
            latencies_ms=tuple(self.latencies),
            num_parameters=self.model.num_parameters,
            inputs=tuple(Operand(a.shape, str(a.dtype)) for a in self.model.feeds.values()),
        )

    def _layers(self, executed: onnx.GraphProto) -> dict[str, str]:
        """The layer of each executed node: of the node that computes the same value in the model's own graph.

        Where that is an activation or the like, merged into what feeds it, the feeding layer's.
        """
        producer = {out: node for node in self.model.proto.graph.node for out in node.output}
        layers: dict[str, str] = {}
        computed_in: dict[str, str] = {}
        for node in executed.node:
            values = [*node.output, node.name.removesuffix(LAYOUT_SUFFIX)]
            origin = next((producer[value] for value in values if value in producer), None)
            if origin is None:  # a change of layout, which belongs to what it feeds on
                before = next((computed_in[value] for value in node.input if value in computed_in), None)
                layers[node.name] = before or self.model.layers.get(node.name, node.name)
                computed_in.update(dict.fromkeys(node.output, layers[node.name]))
                continue
            if any(kind in node.op_type for kind in MAIN_KINDS):
                while origin.op_type not in MAIN_KINDS:
                    feeding = next((producer[value] for value in origin.input if value in producer), None)
                    if feeding is None:
                        break
                    origin = feeding
            layers[node.name] = self.model.layers[origin.name]
            computed_in.update(dict.fromkeys(node.output, layers[node.name]))
        return layers


def _by_node(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found[event["name"].removesuffix("_kernel_time")].append(event)
    return found


def _tensor(described: dict[str, list[int]]) -> Operand:
    ((dtype, shape),) = described.items()
    return Operand(tuple(shape), DTYPES.get(dtype, dtype))


def _operators(
    graph: onnx.GraphProto,
    events: dict[str, list[dict[str, Any]]],
    times: dict[str, list[float]],
    layers: dict[str, str],
) -> tuple[Operator, ...]:
    """What was executed, with shapes as the runtime saw them."""
    tensors = initializers(graph)
    for value in graph.input:
        with contextlib.suppress(ValueError):
            shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            tensors.setdefault(value.name, Operand(shape))
    operators = []
    for node in graph.node:
        if node.name not in events:
            continue  # a Constant: the runtime keeps its value and executes nothing
        described = events[node.name][0]["args"]["output_type_shape"]
        outputs = [name for name in node.output if name]
        tensors.update({name: _tensor(d) for name, d in zip(outputs, described, strict=False)})
        operators.append(
            Operator(
                name=node.name,
                kind=_kind(node, tensors),
                layer=layers[node.name],
                inputs=_as_multiplied(node, [tensors[name] for name in node.input if name in tensors]),
                outputs=tuple(tensors[name] for name in outputs if name in tensors),
                time_ms=interquartile_mean(times[node.name]),
            )
        )
    return tuple(operators)


def _as_multiplied(node: onnx.NodeProto, inputs: list[Operand]) -> tuple[Operand, ...]:
    """Inputs; of a product that the runtime has merged with a Transpose, the first as (..., rows, inner)."""
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "FusedMatMul" and flags.get("transA"):
        shape = list(inputs[0].shape)  # (..., inner, rows), or (inner, ..., rows)
        shape.append(shape.pop(0 if flags.get("transBatchA") else -2))
        inputs[0] = replace(inputs[0], shape=tuple(shape))
    return tuple(inputs)


def _kind(node: onnx.NodeProto, tensors: dict[str, Operand]) -> str:
    if node.op_type == "ReduceMean" and node.input[0] in tensors:
        before, after = tensors[node.input[0]].shape, tensors[node.output[0]].shape
        pooled = (before[:2], (before[0], before[1], 1, 1)) if len(before) == 4 else ()
        if after in pooled:
            return "AveragePool"
    return REPORT_NAMES.get(node.op_type, node.op_type)
