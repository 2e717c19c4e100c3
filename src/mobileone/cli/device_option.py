"""What --device means for a model or an exported file."""

from __future__ import annotations

from mobileone.backends.table import backend_of
from mobileone.errors import ConfigError


def device_for(source: str, device: str) -> str:
    """The device to ask for: an exported file runs on the CPU alone.

    Raises:
        ConfigError: if another one is asked for.

    >>> device_for("s0.onnx", "auto"), device_for("mobileone_s0", "auto")
    ('cpu', 'auto')
    """
    if backend_of(source) is None:
        return device
    if device not in ("auto", "cpu"):
        raise ConfigError(f"{source} runs on the CPU; drop --device {device}")
    return "cpu"


def device_name(source: str, device: str) -> str:
    """The device itself, with no torch asked for an exported file's.

    Raises:
        ConfigError: if there is no such device.

    >>> device_name("s0.onnx", "auto")
    'cpu'
    """
    wanted = device_for(source, device)
    if backend_of(source) is not None:
        return wanted
    from mobileone.ranks.device import pick_device

    return str(pick_device(wanted))
