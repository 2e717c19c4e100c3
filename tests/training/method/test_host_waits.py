"""A steady step asks the device for nothing: on a CPU what would wait is watched, on a GPU torch checks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mobileone.data.loader import Batch
from mobileone.model.branch_mode import set_branch_mode
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.training.config.objective import Mix
from mobileone.training.config.optimization import Optim
from mobileone.training.method.ema import ModelEma
from mobileone.training.method.loss import TrainLoss
from mobileone.training.method.mix import Mixer
from mobileone.training.method.optim import create_optimizer
from mobileone.training.method.rollback import Rollback
from mobileone.training.method.step import TrainStep
from mobileone.training.method.teacher import ModuleTeacher
from mobileone.variants import Variant

# Operators whose result, or its size, the host needs; on a GPU each waits for all work before it.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2"}
COPYING = ("tensor", "as_tensor", "from_numpy")


class HostWaits(TorchDispatchMode):
    """Notes where the host would wait for a GPU: values read, sizes that depend on them, data copied."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        by_mask = name == "index" and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in WAITING or by_mask:
            self.note(name)
        return func(*args, **(kwargs or {}))

    def note(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if "mobileone" in frame.filename]
        self.found.append(f"{what} at {frames[-1].filename}:{frames[-1].lineno}" if frames else what)


@contextmanager
def host_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Places where a step within would wait, were its tensors on a GPU."""
    waits = HostWaits()

    def copying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not any(isinstance(value, torch.Tensor) for value in args[-1:]):
                waits.note(name)
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for name in COPYING:
            patched.setattr(torch, name, copying(f"torch.{name}", getattr(torch, name)))
        patched.setattr(torch.Tensor, "new_tensor", copying("new_tensor", torch.Tensor.new_tensor))
        patched.setattr(Rollback, "where", Rollback._select)  # what it does off the CPU
        with waits:
            yield waits.found


def teacher(tiny: Variant, step: TrainStep) -> ModuleTeacher:
    module = create_model(tiny, num_classes=3, form="inference")
    return ModuleTeacher(module, input_spec=step.input_spec, device=step.device, features=True)


def make(tiny: Variant, mode: str, device: str, **options: Any) -> TrainStep:
    amp = options.get("amp")
    model = set_branch_mode(create_model(tiny, num_classes=3), mode).to(device).train()
    model.to(memory_format=torch.channels_last)
    step = TrainStep(
        model=model,
        network=model,
        input_spec=model.input_spec,
        optimizer=create_optimizer(model, Optim(name=options.pop("name", "sgd"), base_lr=0.01), lr=0.01),
        scaler=torch.amp.GradScaler(device, enabled=amp == "fp16"),
        ema=ModelEma(model, decay=0.99),
        device=torch.device(device),
        loss=TrainLoss(smoothing=0.1, teacher_weight=0.5, feature_weight=1.0)
        if "teaches" in options
        else TrainLoss(smoothing=0.1),
        **{name: value for name, value in options.items() if name != "teaches"},
    )
    if "teaches" in options:
        step.teacher = teacher(tiny, step)
    return step


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"amp": "bf16"},
    "fp16, clipped": {"amp": "fp16", "clip_norm": 1.0},
    "clipped": {"clip_norm": 1.0},
    "accumulated": {"accumulate": 2},
    "mixed": {"mixer": Mixer(options=Mix(mixup=0.2, cutmix=1.0), seed=0)},
    "distilled": {"teaches": True},
    "adamw": {"name": "adamw"},
    "muon": {"name": "muon"},
    "muon, fp16": {"name": "muon", "amp": "fp16"},
}


def batch() -> Batch:
    return Batch(
        images=torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8),
        labels=torch.tensor([0, 1, 2, 0]),
        indices=torch.arange(4),
    )


def rates(number: int) -> dict[str, float]:
    return {"lr": 0.05 / (number + 1), "weight_decay": 1e-4, "step": number}


@pytest.mark.parametrize("mode", ["branches", "online"])
@pytest.mark.parametrize("case", CASES)
def test_a_steady_step_has_no_host_wait(tiny: Variant, mode: str, case: str, monkeypatch) -> None:
    # In the compiled CPU kernels nothing is a torch operator; the form that a GPU composes is looked at.
    monkeypatch.setattr("mobileone.functional.online.kernel_table.has_kernels", lambda *_: False)
    step, data = make(tiny, mode, "cpu", **CASES[case]), batch()
    for number in range(2):
        step(data, **rates(number))
    with host_waits(monkeypatch) as found:
        step(data, **rates(2))
    if step.scaler.is_enabled():  # on a CPU the optimizer's verdict is not taken from the device
        found = [place for place in found if "_local_scalar_dense" not in place]
    assert not found


def test_the_counter_of_host_waits_sees_each_kind(monkeypatch) -> None:
    x = torch.ones(3)
    with host_waits(monkeypatch) as found:
        _ = x.sum().item(), bool(x[0] > 0), x[x > 0], x.nonzero(), x.new_tensor([1.0]), torch.tensor([2.0])
    kinds = [place.partition(" ")[0] for place in found]
    assert kinds == [
        "_local_scalar_dense",
        "_local_scalar_dense",
        "index",
        "nonzero",
        "new_tensor",
        "torch.tensor",
    ]


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["branches", "online"])
@pytest.mark.parametrize("case", CASES)
def test_a_steady_step_has_no_host_wait_on_a_gpu(tiny: Variant, mode: str, case: str) -> None:
    step, data = make(tiny, mode, "cuda", **CASES[case]), batch().pin_memory()
    for number in range(2):
        step(data, **rates(number))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = step(data, **rates(2))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result.finite
    assert isinstance(step.network, MobileOne)
