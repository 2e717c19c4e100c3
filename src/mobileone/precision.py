"""Mixed precision: what is meant on a device, and the context that turns it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import torch

from mobileone.errors import ConfigError

AmpDtype = Literal["bf16", "fp16"]


def check_dtype(dtype: object) -> torch.dtype:
    """A floating-point type of PyTorch, as it is given.

    Raises:
        ConfigError: if it is something else, such as its name.

    >>> check_dtype(torch.float16)
    torch.float16
    """
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        return dtype
    raise ConfigError(f"dtype must be a floating-point torch.dtype such as torch.float16, got {dtype!r}")


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
    switches = _switches()
    before = [switch.read() for switch in switches]
    try:
        for switch in switches:
            switch.write(switch.tf32 if tf32 else switch.exact)
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.write(value)


class _Switch(NamedTuple):
    """One of torch's own: how it is read and written, and what to."""

    read: Callable[[], Any]
    write: Callable[[Any], None]
    tf32: Any
    exact: Any


def _switches() -> list[_Switch]:
    """Torch's own.

    From torch 2.9 on there are newer names, and once somebody has used those the older cannot be read; nor
    can code that reads the older run once we have used the newer. So it is the ones in use.
    """
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    products = _Switch(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "high", "highest"
    )
    older = [products, _attribute(cudnn, "allow_tf32", True, False)]
    try:
        for switch in older:
            switch.read()
    except RuntimeError:
        return [
            _attribute(each, "fp32_precision", "tf32", "ieee") for each in (matmul, cudnn.conv, cudnn.rnn)
        ]
    return older


def _attribute(owner: Any, name: str, tf32: Any, exact: Any) -> _Switch:
    return _Switch(partial(getattr, owner, name), partial(setattr, owner, name), tf32, exact)
