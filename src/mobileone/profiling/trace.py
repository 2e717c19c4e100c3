"""The operators that PyTorch dispatches for a model, with shapes and layers, without times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mobileone.errors import ProfileError
from mobileone.profiling.operator import ROOT_LAYER, Operand, Operator

# PyTorch's operators under the names of the report. A name that is not here stays as it is.
KINDS = {
    "_adaptive_avg_pool2d": "AveragePool",
    "_log_softmax": "LogSoftmax",
    "_softmax": "Softmax",
    "_to_copy": "Cast",
    "_unsafe_view": "Reshape",
    "add": "Add",
    "addmm": "FC",
    "avg_pool2d": "AveragePool",
    "bmm": "MatMul",
    "cat": "Concat",
    "clone": "Copy",
    "constant_pad_nd": "Pad",
    "copy": "Copy",
    "cudnn_batch_norm": "SpatialBN",
    "detach": "Detach",
    "div": "Div",
    "embedding": "Gather",
    "empty": "Empty",
    "exp": "Exp",
    "gelu": "Gelu",
    "hardsigmoid": "HardSigmoid",
    "hardswish": "HardSwish",
    "hardtanh": "Clip",
    "leaky_relu": "LeakyRelu",
    "max_pool2d_with_indices": "MaxPool",
    "mm": "MatMul",
    "mul": "Mul",
    "native_batch_norm": "SpatialBN",
    "native_group_norm": "GroupNormalization",
    "native_layer_norm": "LayerNormalization",
    "neg": "Neg",
    "pow": "Pow",
    "relu": "Relu",
    "rsqrt": "Sqrt",
    "sigmoid": "Sigmoid",
    "silu": "Silu",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "sum": "ReduceSum",
    "tanh": "Tanh",
    "upsample_bilinear2d": "Resize",
    "upsample_nearest2d": "Resize",
    "view": "Reshape",
    "_reshape_alias": "Reshape",
    "unsqueeze": "ExpandDims",
    "squeeze": "Squeeze",
}


# Of these only the first output is the result; the others are kept for a backward pass.
FIRST_OUTPUT = ("SpatialBN", "LayerNormalization", "GroupNormalization", "Attention")


def _kind(func: torch._ops.OpOverload, args: tuple[Any, ...]) -> str:
    name = func._schema.name.partition("::")[2]
    plain = name[:-1] if name.endswith("_") else name
    if plain == "convolution":
        return "ConvTranspose" if args[6] else "Conv"
    if plain == "mean":
        spatial = len(args) > 1 and sorted(d % args[0].dim() for d in args[1]) == list(
            range(2, args[0].dim())
        )
        return "AveragePool" if spatial and args[0].dim() > 2 else "ReduceMean"
    if plain.startswith("_scaled_dot_product"):
        return "Attention"
    if plain in KINDS:
        return KINDS[plain]
    return "View" if func.is_view else name


def operand_of(tensor: Tensor, *, is_parameter: bool = False) -> Operand:
    """Shape and type of a tensor."""
    return Operand(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), is_parameter)


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator that a model dispatches: type, shapes, module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[Operator] = []
        self.modules = [ROOT_LAYER]
        # Also keeps views of parameters alive, such as a transposed weight, so that they are known again.
        self.constants: dict[int, Tensor] = {
            id(t): t for t in (*model.parameters(), *model.buffers(), *_plain_tensors(model))
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = _kind(func, args)
        read = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        written = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if kind == "FC":  # addmm(bias, x, weight)
            read = [*read[1:], read[0]]
        elif func.is_view and read and id(read[0]) in self.constants:
            self.constants.update({id(t): t for t in written})
        if kind in FIRST_OUTPUT:
            written = written[:1]
        self.operators.append(
            Operator(
                name=f"{len(self.operators)}:{func._schema.name}",
                kind=kind,
                layer=self.modules[-1],
                inputs=tuple(map(self._info, read)),
                outputs=tuple(map(self._info, written)),
            )
        )
        return out

    def _info(self, tensor: Tensor) -> Operand:
        return operand_of(tensor, is_parameter=id(tensor) in self.constants)

    @contextmanager
    def follow(self, model: nn.Module) -> Iterator[None]:
        """Keep track of the module that runs."""
        handles = []
        for name, module in model.named_modules():
            if name:
                enter = partial(self._enter, name)
                handles.append(module.register_forward_pre_hook(enter))
                handles.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str, _module: nn.Module, _args: Any) -> None:
        self.modules.append(name)

    def _leave(self, _module: nn.Module, _args: Any, _out: Any) -> None:
        self.modules.pop()


def _plain_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Tensors kept as plain attributes of modules, constants like any buffer."""
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor))


@contextmanager
def operator_by_operator() -> Iterator[None]:
    """No gradients, and no kernel that runs a whole attention layer at once."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def trace(model: nn.Module, x: tuple[Any, ...]) -> tuple[Operator, ...]:
    """The operators PyTorch dispatches for `model(*x)`, in order, without times. Meta tensors will do.

    Raises:
        ProfileError: if the model cannot run on this input.

    >>> [op.kind for op in trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), (torch.zeros(1, 3, 2, 2),))]
    ['Conv', 'Relu']
    """
    tracer = _Trace(model)
    try:
        with operator_by_operator(), tracer.follow(model), tracer:
            model(*x)
    except Exception as error:
        raise ProfileError(_cannot_run(model, x, error)) from error
    return tuple(tracer.operators)


def _cannot_run(model: nn.Module, x: tuple[Any, ...], error: Exception) -> str:
    shapes = ", ".join(str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in x)
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"{type(model).__name__} does not run on an input of {shapes}: {reason}"
