"""Pickles as data: what torch.save wrote, read without importing, calling or building anything foreign.

torch's own safe loader refuses files that hold a whole module, and allocates what a file asks for. This one
reads both kinds of file into plain values, with a record in place of each foreign object and a reference in
place of each tensor, and needs no torch.
"""

from __future__ import annotations

import io
import mmap
import pickletools
import struct
from pathlib import Path
from typing import Any

from mobileone.checkpoint.archive import describe_error, is_name
from mobileone.checkpoint.pickle_values import (
    GUARDED_PACKAGES,
    REBUILD_ANY_TYPE,
    REBUILD_PARAMETER,
    REBUILD_TENSOR,
    REBUILD_WITH_ATTRIBUTES,
    STORAGE_TYPES,
    Global,
    Record,
    StorageRef,
    TensorRef,
    is_inert,
)
from mobileone.errors import CheckpointError, UnsafeCheckpointError

MAX_OPCODES = 2_000_000
MAX_SIZE = 2**48

_PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_SCALARS = (str, bytes, int, float, bool, type(None))

_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _MalformedError(Exception):
    """Bytes that torch.save does not write."""


# What running opcodes on damaged bytes raises.
_PARSE_ERRORS = (
    _MalformedError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    struct.error,
)


def _hashable(key: Any) -> Any:
    # Hashing a deep tuple of tuples can take for ever; no checkpoint has such keys.
    flat = key if type(key) in (tuple, frozenset) else (key,)
    if not all(type(part) in _SCALARS or isinstance(part, Global | Record | TensorRef) for part in flat):
        raise _MalformedError(f"it has a dictionary key or set member of type {type(key).__name__}")
    return key


def _sizes(values: Any, what: str) -> tuple[int, ...]:
    if isinstance(values, Record) and values.name == "torch.Size" and values.args:
        values = values.args[0]
    if type(values) not in (tuple, list) or not all(type(v) is int and 0 <= v < MAX_SIZE for v in values):
        raise _MalformedError(f"a tensor's {what} is not a short list of sizes")
    if len(values) > 16:
        raise _MalformedError(f"a tensor has {len(values)} dimensions")
    return tuple(values)


class _Reader:
    """Runs the opcodes that torch.save writes, on plain values only; any other opcode is refused."""

    def __init__(self, path: Path, storages: dict[str, StorageRef]) -> None:
        self._path = path
        self._storages = storages
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: io.BytesIO | mmap.mmap) -> Any:
        argument: Any
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
            name, push = opcode.name, self._stack
            if name in _LITERALS:
                push.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT"):
                self._memo[argument] = push[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                push.append(self._memo[argument])
            elif name in _CONSTANTS:
                push.append(_CONSTANTS[name])
            elif name in _EMPTY:
                push.append(_EMPTY[name]())
            elif name in _TUPLES:
                start = len(push) - _TUPLES[name]
                push[start:] = [tuple(push[start:])]
            elif name not in ("PROTO", "FRAME", "STOP"):
                step = getattr(self, f"_op_{name.lower()}", None)
                if step is None:
                    raise _MalformedError(f"its pickle uses {name}, which torch.save does not write")
                step(argument)
            if count > MAX_OPCODES:
                raise _MalformedError("its pickle is longer than any checkpoint's")
        (value,) = self._stack
        return value

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _op_mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _op_pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _op_pop_mark(self, _: Any) -> None:
        self._pop_mark()

    def _op_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _op_tuple(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def _op_append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def _op_appends(self, _: Any) -> None:
        self._extend(self._pop_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        items = target.items if isinstance(target, Record) else target
        if type(items) is not list:
            raise _MalformedError("it appends to something other than a list")
        items.extend(values)

    def _op_setitem(self, _: Any) -> None:
        value = self._stack.pop()
        self._fill([self._stack.pop(), value])

    def _op_setitems(self, _: Any) -> None:
        self._fill(self._pop_mark())

    def _fill(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        entries = target.entries if isinstance(target, Record) else target
        if type(entries) is not dict:
            raise _MalformedError("it sets items of something other than a dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            entries[_hashable(key)] = value

    def _op_additems(self, _: Any) -> None:
        members = self._pop_mark()
        target = self._stack[-1]
        if isinstance(target, Record):
            target.items.extend(members)
        elif type(target) is set:
            target.update(_hashable(member) for member in members)
        else:
            raise _MalformedError("it adds to something other than a set")

    def _op_frozenset(self, _: Any) -> None:
        members = self._pop_mark()
        self._stack.append(frozenset(_hashable(member) for member in members))

    def _op_global(self, argument: str) -> None:
        module, name = argument.split(" ")
        self._stack.append(self._find(module, name))

    def _op_stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise _MalformedError("it names a class by something other than a string")
        self._stack.append(self._find(module, name))

    def _find(self, module: str, name: str) -> Global:
        full = f"{_PYTHON2.get(module, module)}.{name}"
        if not is_name(full) or not is_inert(full):
            raise UnsafeCheckpointError(
                f"refused {self._path}: its pickle asks for {full[:80]!r}, which no known checkpoint needs; "
                "nothing was executed"
            )
        return Global(full)

    def _op_binpersid(self, _: Any) -> None:
        value = _persistent(self._stack.pop())
        if isinstance(value, StorageRef):
            self._storages[value.key] = value
        self._stack.append(value)

    def _op_newobj(self, _: Any) -> None:
        arguments, kind = self._stack.pop(), self._stack.pop()
        if not isinstance(kind, Global) or type(arguments) is not tuple:
            raise _MalformedError("it makes an object of no class")
        self._stack.append({} if kind.name == "collections.OrderedDict" else Record(kind.name, arguments))

    def _op_newobj_ex(self, _: Any) -> None:
        self._stack.pop()
        self._op_newobj(None)

    def _op_build(self, _: Any) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif (
            type(target) is not dict
        ):  # attributes of an OrderedDict, `_metadata` of a state dict, are dropped
            raise _MalformedError("it sets attributes of a plain value")

    def _op_reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise UnsafeCheckpointError(
                f"refused {self._path}: its pickle calls the result of another call; nothing was executed"
            )
        self._stack.append(self._call(function.name, arguments))

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name in REBUILD_TENSOR:
            return self._tensor(*arguments[:4])
        if name == REBUILD_ANY_TYPE and isinstance(arguments[6], Global):
            return self._of_type(arguments[0], arguments[6].name, *arguments[1:4])
        if (
            name == REBUILD_WITH_ATTRIBUTES
            and isinstance(arguments[0], Global)
            and type(arguments[2]) is tuple
        ):
            return (
                self._call(arguments[0].name, arguments[2]) if self._rebuilds(arguments[0]) else Record(name)
            )
        if name in REBUILD_PARAMETER and isinstance(arguments[0], TensorRef):
            return arguments[0]
        if name == "collections.OrderedDict":
            return {_hashable(key): value for key, value in (arguments[0] if arguments else ())}
        if name == "_codecs.encode" and arguments[1:] == ("latin1",):
            return str.encode(arguments[0], "latin1")  # how protocol 2 spells bytes
        if name in ("builtins.set", "builtins.frozenset") and type(arguments[0]) is list:
            members = (_hashable(member) for member in arguments[0])
            return set(members) if name == "builtins.set" else frozenset(members)
        if name == "builtins.getattr" and (inner := _inner_class(arguments)):
            return inner
        if name == "builtins.getattr" and not isinstance(arguments[0], Record):
            raise UnsafeCheckpointError(
                f"refused {self._path}: its pickle takes an attribute of something other than a module; "
                "nothing was executed"
            )
        return Record(name, arguments)

    @staticmethod
    def _rebuilds(function: Global) -> bool:
        return function.name in (*REBUILD_TENSOR, REBUILD_ANY_TYPE)

    def _of_type(self, storage: Any, dtype: str, *view: Any) -> TensorRef:
        """A tensor of a type that has no storage of its own; the storage counts bytes."""
        if not isinstance(storage, StorageRef):
            raise _MalformedError("a tensor has no storage")
        return self._tensor(StorageRef(storage.key, dtype, storage.numel), *view)

    def _tensor(self, storage: Any, offset: Any, shape: Any, stride: Any) -> TensorRef:
        if not isinstance(storage, StorageRef):
            raise _MalformedError("a tensor has no storage")
        (start,) = _sizes((offset,), "offset")
        ref = TensorRef(storage, start, _sizes(shape, "shape"), _sizes(stride, "stride"))
        last = start + sum((n - 1) * step for n, step in zip(ref.shape, ref.stride, strict=True))
        if ref.numel and (last >= storage.numel or ref.numel > storage.numel):
            raise UnsafeCheckpointError(
                f"refused {self._path}: a tensor of shape {ref.shape}, stride {ref.stride}, offset {start} "
                f"does not fit its storage of {storage.numel} elements"
            )
        return ref


def _persistent(pid: Any) -> StorageRef | Global:
    if type(pid) is not tuple or len(pid) < 2 or pid[0] not in ("storage", "module"):
        raise _MalformedError("it refers to something other than a storage")
    if pid[0] == "module" and isinstance(pid[1], Global):  # old files carry their classes' source; ignored
        return pid[1]
    kind, key, _, numel, *view = pid[1:]
    if not isinstance(kind, Global) or not kind.name.endswith("Storage") or type(key) is not str:
        raise _MalformedError("it holds a storage of unknown type")
    if type(numel) is not int or not 0 <= numel < MAX_SIZE or any(part is not None for part in view):
        raise _MalformedError("it holds a storage of impossible size")
    return StorageRef(key, STORAGE_TYPES.get(kind.name, kind.name), numel)


def _inner_class(arguments: tuple[Any, ...]) -> Global | None:
    """A class within another package's class, which protocol 2 spells as one's attribute; else None."""
    owner, name = arguments
    if not isinstance(owner, Global) or owner.name.partition(".")[0] in GUARDED_PACKAGES:
        return None
    return Global(f"{owner.name}.{name}") if is_name(name) and not name.startswith("_") else None


def read_pickle(
    file: io.BytesIO | mmap.mmap, *, path: Path, storages: dict[str, StorageRef] | None = None
) -> Any:
    """One pickle, as dicts, lists, tuples, sets, scalars, `TensorRef`s and `Record`s.

    Args:
        file: positioned at the pickle, and left behind it. Bytes in memory, or mapped: reading past the end
            of a plain file would allocate whatever length the pickle states.
        path: the file's name, for messages.
        storages: gets every storage that is named, by its key.

    Raises:
        CheckpointError: if the bytes are not what torch.save writes.
        UnsafeCheckpointError: if they ask for a class or function that no known checkpoint needs, or for a
            tensor larger than its storage.

    >>> import pickle
    >>> read_pickle(io.BytesIO(pickle.dumps({"epoch": 3}, protocol=2)), path=Path("x.pt"))
    {'epoch': 3}
    """
    try:
        return _Reader(path, {} if storages is None else storages).run(file)
    except UnsafeCheckpointError:
        raise
    except _PARSE_ERRORS as error:
        raise CheckpointError(
            f"cannot read {path}: damaged or no checkpoint of torch's ({describe_error(error)})"
        ) from error
