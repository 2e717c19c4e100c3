"""Write a model as the reference port keeps it: a whole pickled module, `{"model": nets.nn.MobileOne}`.

The classes here have that port's attributes and no behaviour. They are pickled under its module's and its
classes' names, so that its own code finds its own classes when it loads the file.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from mobileone.checkpoint.layouts import from_timm
from mobileone.errors import CheckpointError
from mobileone.model.network import MobileOne
from mobileone.variants import SE_REDUCTION, BlockSpec, Form, network_units

REFERENCE_MODULE = "nets.nn"


class PortSE(nn.Module):
    """Stand-in for the port's squeeze-and-excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // SE_REDUCTION
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )


class PortConv(nn.Module):
    """Stand-in for the port's convolution with BatchNorm."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels)


class PortResidual(nn.Module):
    """Stand-in for the port's unit, in either form."""

    def __init__(self, spec: BlockSpec, form: Form) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv: nn.Module = nn.Identity()
        self.se = PortSE(spec.out_channels) if spec.use_se else nn.Identity()
        if form == "inference":
            self.conv = _conv(spec, bias=True)
            # The port's fuse() leaves this attribute, and without it forward() wants the branches.
            self.__dict__["forward"] = _BoundMethod(self, "fuse_forward")
            return
        self.conv1 = nn.ModuleList(PortConv(_conv(spec)) for _ in range(spec.num_conv_branches))
        self.conv2 = PortConv(_conv(spec, kernel_size=1)) if spec.use_scale else None
        self.identity = nn.BatchNorm2d(spec.in_channels) if spec.use_identity else None


class PortMobileOne(nn.Module):
    """Stand-in for the port's network, in either form."""

    def __init__(
        self, stages: list[list[PortResidual]], num_features: int, num_classes: int, form: Form
    ) -> None:
        super().__init__()
        self.p1, self.p2, self.p3, self.p4, self.p5 = (nn.Sequential(*stage) for stage in stages)
        self.fc = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(num_features, num_classes))
        if form == "inference":
            # The port fuses whatever it tests; fused already, it is to do nothing and return the model.
            self.__dict__["fuse"] = _BoundMethod(self, "eval")


STAND_INS = (PortSE, PortConv, PortResidual, PortMobileOne)


class _BoundMethod:
    """Pickles as `getattr(owner, name)`, as a bound method does."""

    def __init__(self, owner: nn.Module, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.owner, self.name)


def _conv(spec: BlockSpec, *, kernel_size: int | None = None, bias: bool = False) -> nn.Conv2d:
    kernel = spec.kernel if kernel_size is None else (kernel_size, kernel_size)
    padding = spec.paddings if kernel_size is None else (0, 0)
    return nn.Conv2d(
        spec.in_channels, spec.out_channels, kernel, spec.strides, padding, spec.dilations, spec.groups, bias
    )


def reference_module(model: MobileOne, state: dict[str, Tensor]) -> nn.Module:
    """The network as the reference port would hold it, in eval mode.

    Args:
        model: says what to build.
        state: its tensors, under timm's names.

    Raises:
        CheckpointError: if the model has no head, which the port's always has.
    """
    if not model.num_classes:
        raise CheckpointError("the reference format needs a classifier; this model has num_classes=0")
    stages: list[list[PortResidual]] = [[] for _ in range(5)]
    with torch.device("meta"):
        for unit in network_units(model.variant, in_chans=model.in_chans, output_stride=model.output_stride):
            stages[unit.stage].append(PortResidual(unit.block, model.form))
        module = PortMobileOne(stages, model.num_features, model.num_classes, model.form)
    module.load_state_dict(from_timm(state, "reference"), assign=True)
    return module.eval()


class _Pickler(pickle.Pickler):
    """Pickles the classes of this module under the reference port's names."""

    def __init__(self, file: BinaryIO, protocol: int | None = None) -> None:
        self._target, self._buffer = file, io.BytesIO()
        super().__init__(self._buffer, protocol)

    def dump(self, obj: object) -> None:
        super().dump(obj)
        # In protocol 2 a class is `c<module>\n<name>\n`, without lengths, so the names can be exchanged.
        pickled = self._buffer.getvalue()
        for ours in STAND_INS:
            theirs = ours.__name__.removeprefix("Port")
            pickled = pickled.replace(
                f"c{__name__}\n{ours.__name__}\n".encode(), f"c{REFERENCE_MODULE}\n{theirs}\n".encode()
            )
        self._target.write(pickled)


class ReferencePickle:
    """What `torch.save` takes for its `pickle_module`."""

    Pickler = _Pickler
