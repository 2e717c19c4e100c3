"""What --device means for a model or an exported file."""

from __future__ import annotations

from mobileone.backends.table import backend_of
from mobileone.distribution import needing_pytorch
from mobileone.errors import ConfigError


def device_for(source: str, device: str) -> str:
    """The device to ask for; by itself an exported file runs on the CPU.

    Raises:
        ConfigError: if its runtime does not run on that.

    >>> device_for("s0.onnx", "auto"), device_for("mobileone_s0", "auto")
    ('cpu', 'auto')
    """
    backend = backend_of(source)
    if backend is None:
        return device
    if device == "auto":
        return "cpu"
    if device.partition(":")[0] in backend.devices:
        return device
    if backend.devices == ("cpu",):
        raise ConfigError(f"{source} runs on the CPU; drop --device {device}")
    raise ConfigError(f"{source} runs on {' or '.join(backend.devices)}; got --device {device}")


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
    with needing_pytorch(f"{source}, which is no exported file,"):
        from mobileone.ranks.device import pick_device
        from mobileone.ranks.launch import read_launch

    return str(pick_device(wanted, local_rank=read_launch().local_rank))
