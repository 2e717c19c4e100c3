"""Which of the weights in a file are meant: averaged ones before raw ones, or those that are asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mobileone.checkpoint.config import ModelConfig
from mobileone.checkpoint.layouts import some
from mobileone.checkpoint.pickle_values import TensorRef
from mobileone.checkpoint.recognition import HasShape, Recognised, Root, recognise, roots, unwrapped
from mobileone.errors import CheckpointError

AVERAGED = frozenset({"ema", "swa", "averaged", "average", "avg", "shadow"})
# AveragedModel counts its updates beside the module that it averages.
AVERAGED_COUNTER = "n_averaged"
# MMEngine counts them as `steps`, and when it saves it exchanges the two: what lies under `state_dict` is
# averaged, and under `ema_state_dict`, with that counter, are the raw weights (mmengine/hooks/ema_hook.py).
EXCHANGED_KEY, EXCHANGED_COUNTER = "ema_state_dict", "steps"
# What trainers call the raw weights, the usual names first.
RAW = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
)
TOP = "."
# More than any trainer keeps; looking at each takes a pass over its table.
MAX_NETWORKS = 64


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Weights, chosen among those in a file.

    Attributes:
        table: key of the table that they are in.
        key: what they are called: the table's key and what their names begin with; `.` at the top.
        found: the network that they are.
        others: keys of other whole networks in the file.
        unfit: keys of weights that are no whole network.
    """

    table: str
    key: str
    found: Recognised
    others: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    table: str
    root: Root
    tensors: Mapping[str, HasShape]

    @property
    def key(self) -> str:
        return ".".join(part for part in (self.table, self.root.prefix.rstrip(".")) if part) or TOP

    @property
    def is_averaged(self) -> bool:
        if self.table == EXCHANGED_KEY and EXCHANGED_COUNTER in self.tensors:
            return False
        counter = self.root.prefix.removesuffix("module.") + AVERAGED_COUNTER
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", self.key)
        return counter in self.tensors or any(word.lower() in AVERAGED for word in words)

    @property
    def rank(self) -> tuple[bool, tuple[int, ...]]:
        """Less for what is taken first."""
        parts = () if self.key == TOP else self.key.split(".")
        return not self.is_averaged, tuple(RAW.index(part) if part in RAW else len(RAW) for part in parts)

    @property
    def identity(self) -> frozenset[object]:
        """The tensors themselves: a pickle may hold the same ones twice."""
        return frozenset(
            tensor if isinstance(tensor, TensorRef) else (self.table, name)
            for name, tensor in self.tensors.items()
            if unwrapped(name).startswith(self.root.prefix)
        )


def select(
    tables: Mapping[str, Mapping[str, HasShape]],
    *,
    config: ModelConfig | None = None,
    weights_key: str | None = None,
    source: object,
) -> Selection:
    """Find the network in a file's tables.

    Args:
        tables: of named tensors, by key.
        config: what the file says of itself.
        weights_key: which weights to take, by their key or the end of it; None takes averaged ones before raw
            ones.
        source: the file, for messages.

    Raises:
        CheckpointError: if none has that key, none is whole, or nothing tells several apart.
    """
    candidates = _candidates(tables, source=source)
    if weights_key is not None:
        candidates = _asked(candidates, weights_key, source=source)
    if not candidates:
        largest = max(tables.values(), key=len)
        return Selection(table="", key=TOP, found=recognise(largest, config=config, source=source))
    whole: dict[str, tuple[_Candidate, Recognised]] = {}
    reasons: dict[str, CheckpointError] = {}
    for candidate in sorted(candidates, key=lambda each: each.rank):
        try:
            found = recognise(candidate.tensors, config=config, source=source, root=candidate.root)
        except CheckpointError as error:
            reasons[candidate.key] = error
        else:
            whole[candidate.key] = candidate, found
    if not whole:
        raise next(iter(reasons.values()))
    keys = list(whole)
    first, found = whole[keys[0]]
    if len(keys) > 1 and (weights_key is not None or whole[keys[1]][0].rank == first.rank):
        raise CheckpointError(
            f"{source} holds several networks: {', '.join(keys)}; choose one with weights_key={keys[0]!r}"
        )
    return Selection(
        table=first.table, key=keys[0], found=found, others=tuple(keys[1:]), unfit=tuple(reasons)
    )


def _candidates(tables: Mapping[str, Mapping[str, HasShape]], *, source: object) -> list[_Candidate]:
    candidates: dict[frozenset[object], _Candidate] = {}
    looked = 0
    for key, tensors in tables.items():
        for root in roots(tensors):
            candidate = _Candidate(table=key, root=root, tensors=tensors)
            candidates.setdefault(candidate.identity, candidate)
            looked += 1
            if looked > MAX_NETWORKS:
                raise CheckpointError(f"cannot read {source}: more than {MAX_NETWORKS} networks")
    return list(candidates.values())


def _asked(candidates: Sequence[_Candidate], wanted: str, *, source: object) -> list[_Candidate]:
    exact = [each for each in candidates if each.key == wanted]
    near = exact or [each for each in candidates if f".{each.key}.".find(f".{wanted}.") >= 0]
    if not near:
        known = some(each.key for each in candidates) if candidates else "none"
        raise CheckpointError(f"{source} has no weights under weights_key={wanted!r}; it has {known}")
    return near
