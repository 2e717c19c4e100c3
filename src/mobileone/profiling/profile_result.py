"""What a profile is: operators with costs and times, grouped as one likes. Imports no torch."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from mobileone.errors import ConfigError
from mobileone.profiling.clock import Measurement, MeasurementProtocol
from mobileone.profiling.conventions import Convention, count, has_memory_rule, total_macs, traffic
from mobileone.profiling.operator import Operator, stage_of
from mobileone.profiling.roofline import Limit, Machine, bound_of

By = Literal["operator", "layer", "stage"]
SCHEMA = "mobileone.profile/1"

_KEYS: dict[By, Callable[[Operator], str]] = {
    "operator": lambda op: op.kind,
    "layer": lambda op: op.layer,
    "stage": lambda op: stage_of(op.layer),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """Some operators of a network taken together: a type, a layer or a stage.

    Attributes:
        name: the operator type, layer or stage.
        kinds: operator types in it, in order of execution.
        num_operators: how many operators.
        input_shape: of the first operator's first input; None where operators of many places are together.
        output_shape: of the last operator's first output, likewise.
        macs: multiply-accumulates.
        count: operations by the profile's convention; None where it has no rule for any of the types.
        bytes_read: features and weights read.
        bytes_written: features written.
        parameter_bytes: of what is read, parameters.
        in_memory_report: whether Caffe2's memory sections list it.
        time_ms: measured; None where the clock did not execute it.
        share: of the time of all operators, 0 to 1; None likewise.
        intensity: FLOP (2 a multiply-accumulate) a byte moved; None where no byte is.
        bound_ms: the least time that the measured ceilings allow; None without them.
        limit: what sets that bound, `arithmetic` or `memory`; None likewise.
    """

    name: str
    kinds: tuple[str, ...]
    num_operators: int
    input_shape: tuple[int, ...] | None
    output_shape: tuple[int, ...] | None
    macs: int
    count: int | None
    bytes_read: int
    bytes_written: int
    parameter_bytes: int
    in_memory_report: bool
    time_ms: float | None
    share: float | None
    intensity: float | None
    bound_ms: float | None
    limit: Limit | None

    @property
    def gflops(self) -> float | None:
        """1e9 FLOP (2 a multiply-accumulate) a second, as measured."""
        return 2 * self.macs / self.time_ms / 1e6 if self.time_ms else None

    @property
    def of_bound(self) -> float | None:
        """Bound over measured time: 1 is as fast as the machine's ceilings allow."""
        return self.bound_ms / self.time_ms if self.time_ms and self.bound_ms is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "gflops": self.gflops, "of_bound": self.of_bound}


def _largest(limited: dict[Limit, float]) -> Limit:
    return "arithmetic" if limited["arithmetic"] > limited["memory"] else "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileResult:
    """What a network costs, operator by operator; `profile_report` prints it.

    Attributes:
        name: of the model.
        convention: how `ProfileRow.count` counts.
        num_parameters: learnt values.
        operators: in order of execution.
        operator_sums_ms: of each timed run, the sum over its operators.
        latencies_ms: of as many whole runs without a profiler.
        protocol: how it was measured.
        machine: measured ceilings, or None.
    """

    name: str
    convention: Convention
    num_parameters: int
    operators: tuple[Operator, ...]
    operator_sums_ms: tuple[float, ...]
    latencies_ms: tuple[float, ...]
    protocol: MeasurementProtocol
    machine: Machine | None = None

    @classmethod
    def of(
        cls,
        measurement: Measurement,
        *,
        name: str,
        convention: Convention,
        protocol: MeasurementProtocol,
        machine: Machine | None,
    ) -> ProfileResult:
        """A profile of what a clock measured."""
        return cls(
            name=name,
            convention=convention,
            num_parameters=measurement.num_parameters,
            operators=measurement.operators,
            operator_sums_ms=measurement.operator_sums_ms,
            latencies_ms=measurement.latencies_ms,
            protocol=protocol,
            machine=machine,
        )

    @property
    def time_ms(self) -> float:
        """Sum of the operators' times, milliseconds a run."""
        return sum(op.time_ms or 0.0 for op in self.operators)

    @property
    def latency_ms(self) -> float:
        """Median of the whole runs without a profiler, milliseconds."""
        return statistics.median(self.latencies_ms)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operators that have a rule."""
        return total_macs(self.operators)

    @property
    def count(self) -> int:
        """Operations of all operators for which the convention has a rule."""
        return sum(count(op, self.convention) or 0 for op in self.operators)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Operator types for which the convention has no rule, by name; their time counts all the same."""
        return tuple(sorted({op.kind for op in self.operators if count(op, self.convention) is None}))

    def rows(self, by: By = "operator") -> tuple[ProfileRow, ...]:
        """Operators grouped: types by falling time, layers and stages in order of execution.

        Raises:
            ConfigError: on another grouping.
        """
        if by not in _KEYS:
            raise ConfigError(f"by must be one of {', '.join(get_args(By))}, got {by!r}")
        groups: dict[str, list[Operator]] = defaultdict(list)
        for op in self.operators:
            groups[_KEYS[by](op)].append(op)
        rows = [self._row(name, operators, by) for name, operators in groups.items()]
        if by == "operator":
            rows.sort(key=lambda row: (-(row.time_ms or 0.0), row.name))
        return tuple(rows)

    def total(self) -> ProfileRow:
        """Everything in one row."""
        return self._row("total", list(self.operators), "stage")

    def _row(self, name: str, operators: list[Operator], by: By) -> ProfileRow:
        moved = [traffic(op) for op in operators]
        counts = [n for op in operators if (n := count(op, self.convention)) is not None]
        times = [op.time_ms for op in operators if op.time_ms is not None]
        macs, total_bytes = total_macs(operators), sum(t.total for t in moved)
        time_ms = sum(times) if times else None
        bounds = [bound_of(op, self.machine) for op in operators] if self.machine else []
        limited: dict[Limit, float] = {"arithmetic": 0.0, "memory": 0.0}
        for bound in bounds:
            limited[bound.limit] += bound.time_ms
        bound_ms = sum(limited.values())
        first, last, one_place = operators[0], operators[-1], by != "operator"
        return ProfileRow(
            name=name,
            kinds=tuple(dict.fromkeys(op.kind for op in operators)),
            num_operators=len(operators),
            input_shape=first.inputs[0].shape if one_place and first.inputs else None,
            output_shape=last.outputs[0].shape if one_place and last.outputs else None,
            macs=macs,
            count=sum(counts) if counts else None,
            bytes_read=sum(t.read for t in moved),
            bytes_written=sum(t.written for t in moved),
            parameter_bytes=sum(t.parameters for t in moved),
            in_memory_report=any(has_memory_rule(op) for op in operators),
            time_ms=time_ms,
            share=time_ms / self.time_ms if time_ms is not None and self.time_ms else None,
            intensity=2 * macs / total_bytes if total_bytes else None,
            bound_ms=bound_ms if bounds else None,
            limit=_largest(limited) if bound_ms else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; docs/cost.md describes the schema, whose version is its first key."""
        total = self.total()
        return {
            "schema": SCHEMA,
            "model": self.name,
            "convention": self.convention,
            "num_parameters": self.num_parameters,
            "totals": {
                "time_ms": self.time_ms,
                "latency_ms": self.latency_ms,
                "macs": self.macs,
                "count": self.count,
                "bytes_read": total.bytes_read,
                "bytes_written": total.bytes_written,
                "parameter_bytes": total.parameter_bytes,
            },
            "uncounted": list(self.uncounted),
            "operators": [row.to_dict() for row in self.rows("operator")],
            "layers": [row.to_dict() for row in self.rows("layer")],
            "stages": [row.to_dict() for row in self.rows("stage")],
            "latencies_ms": list(self.latencies_ms),
            "operator_sums_ms": list(self.operator_sums_ms),
            "protocol": self.protocol.to_dict(),
            "machine": self.machine.to_dict() if self.machine else None,
        }

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.num_parameters:,} parameters, {self.macs / 1e6:,.2f} MMAC, "
            f"{self.latency_ms:.4g} ms a run"
        )
