"""Mixed precision by device."""

import torch

from mobileone.precision import resolve_amp


def test_amp_on_a_cpu_is_off_unless_asked_for() -> None:
    cpu = torch.device("cpu")
    assert [resolve_amp(a, cpu) for a in ("auto", "off", "bf16", "fp16")] == [None, None, "bf16", "fp16"]
