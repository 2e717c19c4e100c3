"""A .tflite file, tensor by tensor and operator by operator, through the schema that LiteRT's runtime ships.

LiteRT's own converter traces torch programs and needs a gigabyte of packages in an environment of its own;
a chain of convolutions needs a dozen operators, which are written here directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileone.backends.quantized_network import Int8Encoding
from mobileone.backends.table import BACKENDS, require

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """A tensor of the graph: its index there, its shape and how its integers are read."""

    index: int
    shape: tuple[int, ...]
    encoding: Int8Encoding | None = None


def schema() -> ModuleType:
    """The generated classes of the .tflite schema.

    Raises:
        MissingExtraError: without LiteRT's runtime.
    """
    return require("ai_edge_litert.schema_py_generated", BACKENDS["litert"])


class FlatBuffer:
    """One graph under construction. Shapes have the batch first; `dynamic_batch` leaves it open.

    >>> graph = FlatBuffer()
    >>> x = graph.tensor("x", (1, 2), np.float32)
    >>> y = graph.operator("LOGISTIC", [x], graph.tensor("y", (1, 2), np.float32))
    >>> len(graph.pack([x], [y])) > 0
    True
    """

    def __init__(self, *, dynamic_batch: bool = False) -> None:
        self._schema = schema()
        self._dynamic_batch = dynamic_batch
        self._buffers = [self._schema.BufferT()]  # buffer 0 is the empty one by convention
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[str] = []

    def tensor(
        self, name: str, shape: Sequence[int], dtype: type[np.generic], encoding: Int8Encoding | None = None
    ) -> GraphTensor:
        """A tensor that is computed or fed."""
        return self._add(name, tuple(shape), np.dtype(dtype), encoding, buffer=0, activation=True)

    def computed_constant(self, name: str, shape: Sequence[int], dtype: type[np.generic]) -> GraphTensor:
        """A tensor that is computed from constants, so that its shape does not follow the batch."""
        return self._add(name, tuple(shape), np.dtype(dtype), None, buffer=0, activation=False)

    def constant(self, name: str, values: NDArray[Any], encoding: Int8Encoding | None = None) -> GraphTensor:
        """A tensor whose values are part of the file."""
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
        self._buffers.append(buffer)
        last = len(self._buffers) - 1
        return self._add(name, values.shape, values.dtype, encoding, buffer=last, activation=False)

    def _add(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        encoding: Int8Encoding | None,
        *,
        buffer: int,
        activation: bool,
    ) -> GraphTensor:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer, tensor.hasRank = name, list(shape), buffer, True
        tensor.type = getattr(self._schema.TensorType, dtype.name.upper())
        if activation and self._dynamic_batch:
            tensor.shapeSignature = [-1, *shape[1:]]
        if encoding is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale = list(encoding.scale)
            tensor.quantization.zeroPoint = [encoding.zero_point] * len(encoding.scale)
            tensor.quantization.quantizedDimension = encoding.dim
        self._tensors.append(tensor)
        return GraphTensor(len(self._tensors) - 1, shape, encoding)

    def operator(
        self,
        kind: str,
        inputs: Sequence[GraphTensor],
        output: GraphTensor,
        *,
        options: str | None = None,
        **fields: Any,
    ) -> GraphTensor:
        """Append an operator; its output.

        Args:
            kind: a name of `BuiltinOperator`.
            inputs: in the operator's order.
            output: what it computes.
            options: the class of its options, without the T, where it has any.
            fields: of those options.
        """
        if kind not in self._codes:
            self._codes.append(kind)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._codes.index(kind)
        operator.inputs, operator.outputs = [x.index for x in inputs], [output.index]
        if options is not None:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self._schema, f"{options}T")()
            for field, value in fields.items():
                assert hasattr(operator.builtinOptions, field), f"{options} has no {field}"
                setattr(operator.builtinOptions, field, value)
        self._operators.append(operator)
        return output

    def pack(
        self,
        inputs: Sequence[GraphTensor],
        outputs: Sequence[GraphTensor] | Mapping[str, GraphTensor],
        *,
        description: str = "",
    ) -> bytes:
        """The file's content, with one signature, `serving_default`, of the inputs' and outputs' names.

        Outputs have their tensors' names, or those given.
        """
        import flatbuffers

        graph = self._schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self._tensors, self._operators
        if not isinstance(outputs, Mapping):
            outputs = {self._tensors[x.index].name: x for x in outputs}
        graph.inputs, graph.outputs = [x.index for x in inputs], [x.index for x in outputs.values()]
        signature = self._schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._named(self._tensors[x.index].name, x) for x in inputs]
        signature.outputs = [self._named(name, x) for name, x in outputs.items()]
        model = self._schema.ModelT()
        model.version, model.description = SCHEMA_VERSION, description
        model.operatorCodes = [self._code(kind) for kind in self._codes]
        model.subgraphs, model.buffers, model.signatureDefs = [graph], self._buffers, [signature]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _named(self, name: str, tensor: GraphTensor) -> Any:
        entry = self._schema.TensorMapT()
        entry.name, entry.tensorIndex = name, tensor.index
        return entry

    def _code(self, kind: str) -> Any:
        number = getattr(self._schema.BuiltinOperator, kind)
        code = self._schema.OperatorCodeT()
        # Readers of the first schema have a byte for the operator; 127 says that the wide field counts.
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), VERSIONS[kind]
        return code


# The first version of each operator that takes int8 and everything else used here.
VERSIONS = {
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "FULLY_CONNECTED": 9,
    "MEAN": 2,
    "PAD": 2,
    "CONCATENATION": 2,
    "LOGISTIC": 2,
    "MUL": 2,
    "SUB": 2,
    "QUANTIZE": 2,
    "DEQUANTIZE": 2,
    "RESHAPE": 1,
}
