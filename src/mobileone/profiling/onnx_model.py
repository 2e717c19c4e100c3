"""The ONNX graph that gets profiled: exported from a module or read from a file, then checked and named."""

from __future__ import annotations

import ast
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobileone.errors import MissingExtraError, ProfileError
from mobileone.profiling.operator import ELEMENT_BYTES, ROOT_LAYER, Operand
from mobileone.telemetry import import_silent

if TYPE_CHECKING:
    import onnx
    from torch import nn

SCOPES = "pkg.torch.onnx.name_scopes"
# What a model learns or was quantised to; integers of 32 and 64 bits are shapes and indices.
WEIGHT_DTYPES = frozenset(ELEMENT_BYTES) | {"float32"}


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """A graph ready to be executed, with what is known about its nodes.

    Attributes:
        proto: the model; every node has a unique name.
        layers: layer of each node, by the node's name.
        num_parameters: learnt values in it, shared ones once.
        feeds: input arrays by name.
    """

    proto: onnx.ModelProto
    layers: dict[str, str]
    num_parameters: int
    feeds: dict[str, np.ndarray[Any, Any]]


def require_onnx() -> None:
    """Raise MissingExtraError unless ONNX and its runtime are there."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        try:
            import_silent(package)
        except ImportError as error:
            raise MissingExtraError(
                f"profiling with ONNX Runtime needs {package}; pip install 'mobileone[profile]', "
                "or take PyTorch's profiler: clock torch"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    # The exporter warns about its own deprecations and about every package it does not find.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def export_module(model: nn.Module, x: tuple[Any, ...], *, reference_head: bool = False) -> OnnxModel:
    """The graph of a module for inputs of exactly these shapes, each node one operator of the module.

    Nothing is merged: a BatchNorm stays a BatchNorm.

    Args:
        model: in eval mode, on the CPU.
        x: its positional arguments.
        reference_head: write a mean over height and width as the pool and `view(x.size(0), -1)` of the
            reference network, whose report lists the operators that such a view becomes.

    Raises:
        ProfileError: if the model cannot be exported.
    """
    import torch
    from onnxscript import optimizer

    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(model, x, dynamo=True, optimize=False, verbose=False)
            assert program is not None
            # The export leaves constants as little graphs of their own; no rewriting beyond that.
            optimizer.fold_constants(program.model)
            optimizer.remove_unused_nodes(program.model)
            proto = program.model_proto
    except Exception as error:
        raise ProfileError(
            f"cannot export {type(model).__name__} to ONNX ({_root_reason(error)}); "
            "PyTorch's profiler needs no export: clock torch"
        ) from error
    names = {*model.state_dict(keep_vars=True)}
    _drop_made_up_biases(proto, names)
    if reference_head:
        _write_reference_head(proto)
    layers = _name_nodes(proto)
    # The exporter may leave out inputs that nothing reads.
    arrays = [t.detach().numpy() for t in x if isinstance(t, torch.Tensor)]
    inputs = _fixed_inputs(proto, type(model).__name__)
    feeds = dict(zip(inputs, arrays, strict=False))
    count = sum(p.numel() for p in model.parameters())
    return OnnxModel(proto=proto, layers=layers, num_parameters=count, feeds=feeds)


def read_file(path: str | os.PathLike[str], x: tuple[Any, ...] | None = None) -> OnnxModel:
    """The graph of an .onnx file as it is.

    Args:
        path: the file.
        x: input tensors; None for noise of the shapes that the file fixes.

    Raises:
        ProfileError: if it is no ONNX file, or its inputs have no fixed shapes.
    """
    import onnx

    path = Path(path)
    if not path.is_file():
        raise ProfileError(f"{path} is not there")
    try:
        proto = onnx.load(path)
    except Exception as error:
        raise ProfileError(f"{path} is not an ONNX model: {_root_reason(error)}") from error
    if not proto.graph.node:
        raise ProfileError(f"{path} is not an ONNX model: it has no operators")
    inputs = _fixed_inputs(proto, str(path))
    if x is None:
        feeds = {name: _noise(info, name, path) for name, info in inputs.items()}
    else:
        arrays = [np.asarray(t) for t in x]
        wanted = [info.shape for info in inputs.values()]
        if [a.shape for a in arrays] != wanted:
            raise ProfileError(f"{path} takes inputs of {wanted}, got {[a.shape for a in arrays]}")
        feeds = dict(zip(inputs, arrays, strict=True))
    return OnnxModel(
        proto=proto,
        layers=_name_nodes(proto),
        num_parameters=_count_parameters(proto),
        feeds=feeds,
    )


def _root_reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def dtype_name(elem_type: int) -> str:
    """NumPy's name of an ONNX element type, `string` for strings."""
    import onnx

    if elem_type == onnx.TensorProto.STRING:
        return "string"
    return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


def initializers(graph: onnx.GraphProto) -> dict[str, Operand]:
    """Constants of a graph by name: its initializers, and the tensors of its Constant nodes."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    found = {}
    for name, tensor in tensors.items():
        dtype = dtype_name(tensor.data_type)
        weight = dtype in WEIGHT_DTYPES and len(tensor.dims) > 0
        found[name] = Operand(tuple(tensor.dims), dtype, weight)
    return found


def _fixed_inputs(proto: onnx.ModelProto, what: str) -> dict[str, Operand]:
    constants = {tensor.name for tensor in proto.graph.initializer}
    found = {}
    for value in proto.graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        dims = [d.dim_value for d in tensor.shape.dim]
        if not tensor.HasField("shape") or any(size < 1 for size in dims):
            sizes = ", ".join(d.dim_param or str(d.dim_value or "?") for d in tensor.shape.dim)
            shape = f"shape ({sizes})" if sizes else "no shape"
            raise ProfileError(
                f"{what}: input {value.name} has {shape}; a profile needs fixed sizes, so export it with them"
            )
        found[value.name] = Operand(tuple(dims), dtype_name(tensor.elem_type))
    return found


def _noise(info: Operand, name: str, path: Path) -> np.ndarray[Any, Any]:
    if info.dtype.startswith(("float", "bfloat")):
        return np.random.default_rng(0).standard_normal(info.shape).astype(info.dtype)
    if info.dtype == "string":
        raise ProfileError(f"{path}: input {name} is text, which profile cannot make up")
    return np.zeros(info.shape, dtype=info.dtype)  # of integers, 0 is an index that always exists


def _count_parameters(proto: onnx.ModelProto) -> int:
    statistics = {
        name for node in proto.graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]
    }
    constants = initializers(proto.graph)
    return sum(info.numel for name, info in constants.items() if info.is_parameter and name not in statistics)


def _drop_made_up_biases(proto: onnx.ModelProto, names: set[str]) -> None:
    """The exporter gives every convolution a bias; zeros that are not the module's own go again."""
    import onnx

    zeros = {
        tensor.name
        for tensor in proto.graph.initializer
        if tensor.name not in names and not onnx.numpy_helper.to_array(tensor).any()
    }
    for node in proto.graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and len(node.input) > 2 and node.input[2] in zeros:
            del node.input[2]


def _write_reference_head(proto: onnx.ModelProto) -> None:
    """Mean over (2, 3) as pool, then a view whose shape is computed from the tensor: (x.size(0), -1)."""
    import onnx

    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    nodes = list(proto.graph.node)
    for position, node in enumerate(nodes):
        if node.op_type != "ReduceMean" or _keeps_dims(node):
            continue
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if axes is None or sorted(int(axis) for axis in axes) != [2, 3]:
            continue
        out = node.output[0]
        for name, value in (
            ("view_zero", np.array(0)),
            ("view_axes", np.array([0])),
            ("view_rest", np.array([-1])),
        ):
            tensor = onnx.numpy_helper.from_array(value.astype(np.int64), f"{out}.{name}")
            proto.graph.initializer.append(tensor)
        make = onnx.helper.make_node
        written = [
            make("GlobalAveragePool", [node.input[0]], [f"{out}.pool"]),
            make("Shape", [f"{out}.pool"], [f"{out}.shape"]),
            make("Gather", [f"{out}.shape", f"{out}.view_zero"], [f"{out}.size"]),
            make("Unsqueeze", [f"{out}.size", f"{out}.view_axes"], [f"{out}.batch"]),
            make("Concat", [f"{out}.batch", f"{out}.view_rest"], [f"{out}.view"], axis=0),
            make("Reshape", [f"{out}.pool", f"{out}.view"], [out]),
        ]
        for new in written:
            new.metadata_props.extend(node.metadata_props)
        nodes[position : position + 1] = written
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        return


def _keeps_dims(node: onnx.NodeProto) -> bool:
    return next((bool(a.i) for a in node.attribute if a.name == "keepdims"), True)


def _name_nodes(proto: onnx.ModelProto) -> dict[str, str]:
    """Give every node a unique name; the layer of each."""
    layers: dict[str, str] = {}
    for node in proto.graph.node:
        layer = _layer(node)
        name = node.name or node.op_type
        while name in layers:
            name = f"{name}_{len(layers)}"
        node.name = name
        layers[name] = layer if layer is not None else name
    return layers


def _layer(node: onnx.NodeProto) -> str | None:
    """The dotted module name that the exporter left on a node, if any."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            scopes = [scope for scope in ast.literal_eval(entry.value)[:-1] if scope]
            return scopes[-1] if scopes else ROOT_LAYER
    # PyTorch's older exporter names nodes by path: /layer1/layer1.0/conv1/Conv.
    if node.name.startswith("/"):
        parts: list[str] = []
        for part in node.name.strip("/").split("/")[:-1]:
            if parts and part.startswith(f"{parts[-1]}."):
                parts.pop()
            parts.append(part)
        return ".".join(parts) or ROOT_LAYER
    return None
