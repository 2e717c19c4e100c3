"""The GPU of a benchmark: which one it is, and how much of its memory is taken."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mobileone.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU, for CUDA and TensorRT.

    Attributes:
        device: as PyTorch calls it, with its number.
        name: the maker's; None where PyTorch is not here to tell.
        versions: of what drives it.
    """

    device: str
    name: str | None
    versions: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def number(self) -> str:
        """Among those that this process sees."""
        return self.device.partition(":")[2]

    def __str__(self) -> str:
        versions = "".join(f", {name} {version}" for name, version in self.versions.items())
        return f"{self.name or 'a GPU'} ({self.device}){versions}"

    def used_bytes(self) -> int | None:
        """Memory that is taken on it, by whatever process; None where PyTorch is not here to tell."""
        if self.name is None:
            return None
        import torch

        free, total = torch.cuda.mem_get_info(self.device)
        return total - free


def find_card(device: str) -> Card | None:
    """The GPU that a name means; None is the CPU.

    Args:
        device: `"cpu"`, `"cuda"` or `"cuda:1"`.

    Raises:
        ConfigError: on another name, or if PyTorch finds no such GPU.

    >>> find_card("cpu") is None
    True
    """
    if device == "cpu":
        return None
    if re.fullmatch(r"cuda(:\d+)?", device) is None:
        hint = "; TensorRT is measured on cuda, beside CUDA" if device.startswith("tensorrt") else ""
        raise ConfigError(f"bench runs on cpu, cuda or cuda:N, got device {device!r}{hint}")
    device = device if ":" in device else f"{device}:0"
    try:
        import torch
    except ImportError:  # the sessions will say whether it is there
        return Card(device=device, name=None)
    from mobileone.ranks.device import check_device

    check_device(device)
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    versions = {"CUDA": torch.version.cuda, "cuDNN": cudnn}
    return Card(
        device=device,
        name=torch.cuda.get_device_name(device),
        versions={name: str(version) for name, version in versions.items() if version is not None},
    )
