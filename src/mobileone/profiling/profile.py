"""Profile a network, or two side by side."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from mobileone.errors import ConfigError, ProfileError
from mobileone.model.network import MobileOne
from mobileone.model.wrapped import unwrap
from mobileone.processor import num_cores, processor_name
from mobileone.profiling.clock import (
    CHUNK_RUNS,
    WARMUP_RUNS,
    Clock,
    ClockName,
    Measurement,
    MeasurementProtocol,
)
from mobileone.profiling.comparison import ProfileComparison
from mobileone.profiling.conventions import Convention
from mobileone.profiling.onnx_model import export_module, read_file, require_onnx
from mobileone.profiling.operator import Operand, Operator
from mobileone.profiling.profile_result import ProfileResult
from mobileone.profiling.roofline import Machine, measure_machine


@dataclass(frozen=True)
class ProfileSubject:
    """What to profile.

    Attributes:
        model: a module in eval mode, or the path of an .onnx file. What DataParallel,
            DistributedDataParallel, torch.compile and AveragedModel wrap is taken out.
        x: the module's positional arguments; None with a file stands for noise of the file's shapes.
        name: for the report; None takes the class's or the file's.
    """

    model: nn.Module | str | os.PathLike[str]
    x: Tensor | tuple[Any, ...] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", unwrap(self.model))

    @property
    def arguments(self) -> tuple[Any, ...] | None:
        """`x` as a tuple."""
        return (self.x,) if isinstance(self.x, Tensor) else self.x

    @property
    def title(self) -> str:
        """The name for the report: the one given, else the module's class or the file's name."""
        if self.name:
            return self.name
        return type(self.model).__name__ if isinstance(self.model, nn.Module) else Path(self.model).name

    @property
    def device(self) -> torch.device:
        """Where it runs: with its first input."""
        tensors = [t for t in self.arguments or () if isinstance(t, Tensor)]
        return tensors[0].device if tensors else torch.device("cpu")

    def check(self) -> None:
        """Raise where the model cannot be profiled as it stands."""
        if not isinstance(self.model, nn.Module):
            return
        if self.x is None:
            raise ConfigError(f"profiling a {self.title} needs its input: profile(model, x)")
        if self.model.training:
            raise ProfileError(f"cannot profile {self.title} in training mode; call model.eval() first")


def profile(
    model: nn.Module | str | os.PathLike[str],
    x: Tensor | tuple[Any, ...] | None = None,
    *,
    clock: ClockName | None = None,
    optimized: bool = False,
    convention: Convention = "caffe2",
    threads: int | None = None,
    runs: int = 100,
    roofline: bool = False,
    name: str | None = None,
) -> ProfileResult:
    """Execute a network operator by operator and say what each costs: count, bytes, measured time.

    Args:
        model: a module in eval mode, any module; or the path of an .onnx file with fixed shapes.
        x: the module's input, or a tuple of inputs, on the device it is to run on.
        clock: `onnxruntime` exports the module to ONNX and reads the runtime's own profile (CPU only);
            `torch` runs it eagerly under PyTorch's profiler. None takes the first on a CPU, else the second.
        optimized: let ONNX Runtime merge and rewrite operators as it does when deployed.
        convention: what an operation is: `caffe2` (FLOP), `fvcore` or `macs`; see docs/cost.md.
        threads: of the runtime; None for all cores this process may use.
        runs: timed runs, after 10 of warm-up.
        roofline: also measure the machine's ceilings (3 seconds) and each operator's bound.
        name: for the report.

    Returns:
        The profile: `profile_report` of it is the report, `rows("layer")` and `to_dict()` for the figures.

    Raises:
        ConfigError: on arguments that make no sense or do not fit together.
        ProfileError: if the model cannot be traced, exported or executed.
        MissingExtraError: if the clock is ONNX Runtime and it is not installed.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    >>> result = profile(model, torch.zeros(1, 3, 10, 10), clock="torch", runs=2)
    >>> result.num_parameters, result.macs
    (224, 13824)
    """
    subject = ProfileSubject(model, x, name)
    options = _Options.of(
        [subject], clock=clock, optimized=optimized, convention=convention, threads=threads, runs=runs
    )
    timer = options.clock_for(subject)
    timer.measure(runs)
    return options.profile(subject, timer, options.machine() if roofline else None)


def compare(
    first: ProfileSubject,
    second: ProfileSubject,
    *,
    clock: ClockName | None = None,
    optimized: bool = False,
    convention: Convention = "caffe2",
    threads: int | None = None,
    runs: int = 100,
    roofline: bool = False,
) -> ProfileComparison:
    """Profile two networks in turns of 10 runs, so that what disturbs one disturbs the other.

    Args:
        first: one network.
        second: the other, on the same device.
        clock: as in `profile`.
        optimized: as in `profile`.
        convention: as in `profile`.
        threads: as in `profile`.
        runs: timed runs of each.
        roofline: as in `profile`.

    Raises:
        ConfigError: as `profile`, and for two devices.
        ProfileError: as `profile`.
    """
    options = _Options.of(
        [first, second], clock=clock, optimized=optimized, convention=convention, threads=threads, runs=runs
    )
    timers = [options.clock_for(subject) for subject in (first, second)]
    for start in range(0, runs, CHUNK_RUNS):
        for timer in timers:
            timer.measure(min(CHUNK_RUNS, runs - start))
    machine = options.machine() if roofline else None
    return ProfileComparison(
        options.profile(first, timers[0], machine), options.profile(second, timers[1], machine)
    )


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What `profile` and `compare` were asked for, checked, with defaults filled in."""

    clock: ClockName
    optimized: bool
    convention: Convention
    threads: int
    runs: int
    device: torch.device

    @classmethod
    def of(
        cls,
        subjects: list[ProfileSubject],
        *,
        clock: ClockName | None,
        optimized: bool,
        convention: Convention,
        threads: int | None,
        runs: int,
    ) -> _Options:
        device = subjects[0].device
        if any(subject.device != device for subject in subjects):
            raise ConfigError("both models must run on one device")
        clock = clock or ("onnxruntime" if device.type == "cpu" else "torch")
        for what, value, known in (
            ("clock", clock, get_args(ClockName)),
            ("convention", convention, get_args(Convention)),
        ):
            if value not in known:
                raise ConfigError(f"{what} must be one of {', '.join(known)}, got {value!r}")
        for what, number in (("runs", runs), ("threads", threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{what} must be at least 1, got {number}")
        if clock == "onnxruntime" and device.type != "cpu":
            raise ConfigError(
                f"the onnxruntime clock runs on the CPU only, not on {device}; clock torch does"
            )
        if device.type == "meta":
            raise ConfigError(
                "meta tensors compute nothing, so there is no time to measure; put x on a device"
            )
        if clock == "torch" and optimized:
            raise ConfigError("optimized is ONNX Runtime's; PyTorch runs eagerly, as the model is written")
        files = [subject.title for subject in subjects if not isinstance(subject.model, nn.Module)]
        if clock == "torch" and files:
            raise ConfigError(f"{files[0]} is a file for ONNX Runtime; the torch clock takes modules")
        for subject in subjects:
            subject.check()
        if clock == "onnxruntime":
            require_onnx()
        return cls(
            clock=clock,
            optimized=optimized,
            convention=convention,
            threads=threads or num_cores(),
            runs=runs,
            device=device,
        )

    def clock_for(self, subject: ProfileSubject) -> Clock:
        """A warmed-up clock."""
        model, x = subject.model, subject.arguments
        if self.clock == "onnxruntime":
            from mobileone.profiling.onnx_clock import OnnxClock

            if isinstance(model, nn.Module):
                graph = export_module(model, x or (), reference_head=_has_reference_head(model))
            else:
                graph = read_file(model, x)
            return OnnxClock(graph, threads=self.threads, optimized=self.optimized)
        from mobileone.profiling.torch_clock import TorchClock

        assert isinstance(model, nn.Module)
        return TorchClock(model, x or (), threads=self.threads)

    def machine(self) -> Machine:
        """The ceilings of the machine that it runs on."""
        return measure_machine(self.clock, self.device, threads=self.threads)

    def profile(self, subject: ProfileSubject, timer: Clock, machine: Machine | None) -> ProfileResult:
        """The result, once all runs are done."""
        measurement = timer.finish()
        if self.clock == "torch" and _has_reference_head(subject.model):
            measurement = _with_reference_view(measurement)
        return ProfileResult.of(
            measurement,
            name=subject.title,
            convention=self.convention,
            protocol=self._protocol(measurement),
            machine=machine,
        )

    def _protocol(self, measurement: Measurement) -> MeasurementProtocol:
        libraries = ("onnxruntime", "onnx", "torch") if self.clock == "onnxruntime" else ("torch",)
        on_cuda = self.device.type == "cuda"
        return MeasurementProtocol(
            clock=self.clock,
            optimized=self.optimized,
            device=str(self.device),
            processor=torch.cuda.get_device_name(self.device) if on_cuda else processor_name(),
            cores=num_cores(),
            threads=self.threads,
            runs=self.runs,
            warmup=WARMUP_RUNS,
            versions={name: version(name) for name in libraries} | {"python": platform.python_version()},
            inputs=tuple(f"{t.dtype} {'×'.join(map(str, t.shape))}" for t in measurement.inputs),
            date=date.today().isoformat(),
        )


def _has_reference_head(model: object) -> bool:
    """Whether it is our classifier, whose head the reference wrote as pool and `view(x.size(0), -1)`."""
    return isinstance(model, MobileOne) and model.num_classes > 0


def _with_reference_view(measurement: Measurement) -> Measurement:
    """Add the operators of the reference's view, without times: PyTorch takes sizes without any operator."""
    operators: list[Operator] = []
    scalar, one, two = (Operand(shape, "int64") for shape in ((), (1,), (2,)))
    for op in measurement.operators:
        operators.append(op)
        if op.layer == "head" and op.is_global_pool:
            batch, channels = op.outputs[0].shape[:2]
            pooled, flat = Operand((batch, channels, 1, 1)), Operand((batch, channels))
            for kind, read, written in (
                ("Shape", (pooled,), Operand((4,), "int64")),
                ("Gather", (Operand((4,), "int64"), scalar), scalar),
                ("ExpandDims", (scalar, one), one),
                ("Concat", (one, one), two),
                ("Reshape", (pooled, two), flat),
            ):
                operators.append(Operator(f"view:{kind}", kind, op.layer, read, (written,)))
    return replace(measurement, operators=tuple(operators))
