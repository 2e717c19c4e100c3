"""Mixed precision: what is meant on a device, and the context that turns it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch

AmpDtype = Literal["bf16", "fp16"]


AMP_DTYPES: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, amp: AmpDtype | None) -> AbstractContextManager[object]:
    """Mixed precision on that device; None leaves the weights' own precision."""
    dtype = AMP_DTYPES[amp] if amp else None
    return torch.autocast(device.type, dtype=dtype, enabled=amp is not None)


def resolve_amp(amp: Literal["auto", "off", "bf16", "fp16"], device: torch.device) -> AmpDtype | None:
    """The mixed precision meant on that device; None is none.

    >>> resolve_amp("auto", torch.device("cpu")) is None
    True
    """
    if amp == "off":
        return None
    if amp != "auto":
        return amp
    if device.type != "cuda":
        return None
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """Whether float32 products and convolutions on a GPU may round their operands to TensorFloat-32.

    torch lets convolutions by default, which costs three digits: enough for two equal networks to differ by
    1e-3.
    """
    flags: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = tf32
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value
