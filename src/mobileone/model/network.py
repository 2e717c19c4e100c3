"""The whole network: stem, four stages, pooled linear head, in either form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from mobileone.decision import Decision
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec, Size
from mobileone.model.block import InferenceBlock, MobileOneBlock
from mobileone.task import Task, checked_task
from mobileone.variants import Form, Variant, check_count, network_units

BLOCKS: dict[Form, type[MobileOneBlock] | type[InferenceBlock]] = {
    "train": MobileOneBlock,
    "inference": InferenceBlock,
}


class FeatureInfo:
    """Channels and stride of every feature level, under timm's method names.

    Level 0 is the stem, levels 1–4 are the stages.
    """

    def __init__(self, levels: Sequence[dict[str, Any]], out_indices: Sequence[int] | None = None) -> None:
        self.info = list(levels)
        self.out_indices = tuple(range(len(self.info)) if out_indices is None else out_indices)

    def _pick(self, key: str) -> list[Any]:
        return [self.info[i][key] for i in self.out_indices]

    def channels(self) -> list[int]:
        """Channels of the chosen levels."""
        return self._pick("num_chs")

    def reduction(self) -> list[int]:
        """Strides of the chosen levels, in input pixels."""
        return self._pick("reduction")

    def module_name(self) -> list[str]:
        """Names of the modules that give the chosen levels."""
        return self._pick("module")

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.info[index]

    def __len__(self) -> int:
        return len(self.info)


def fitting_spec(given: InputSpec | None, in_chans: int) -> InputSpec:
    """The pre-processing that was given, or that of so many channels.

    Raises:
        ConfigError: if it is for another number of them.
    """
    spec = given or InputSpec.for_channels(in_chans)
    if spec.in_chans != in_chans:
        raise ConfigError(f"input_spec is for {spec.in_chans} channels, in_chans={in_chans}")
    return spec


def build_trunk(
    variant: Variant, *, in_chans: int, form: Form, output_stride: int
) -> tuple[nn.Module, nn.Sequential, list[dict[str, Any]]]:
    """Stem, stages and the levels of `FeatureInfo`."""
    if form not in BLOCKS:
        raise ConfigError(f"form must be train or inference, got {form!r}")
    build = BLOCKS[form]
    stem: nn.Module | None = None
    stages: list[list[nn.Module]] = [[] for _ in variant.depths]
    levels: dict[int, dict[str, Any]] = {}
    for unit in network_units(variant, in_chans=in_chans, output_stride=output_stride):
        block = build(unit.block)
        if unit.stage == 0:
            stem = block
        else:
            stages[unit.stage - 1].append(block)
        name = f"stages.{unit.stage - 1}" if unit.stage else "stem"
        levels[unit.stage] = {
            "num_chs": unit.block.out_channels,
            "reduction": unit.reduction,
            "module": name,
        }
    assert stem is not None
    return stem, nn.Sequential(*(nn.Sequential(*stage) for stage in stages)), list(levels.values())


class ClassifierHead(nn.Module):
    """Global average pool, then a linear layer; with 0 classes the pooled features themselves."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.fc: nn.Module = nn.Linear(num_features, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, *, pre_logits: bool = False) -> Tensor:
        """(N, C, H, W) to (N, num_classes), or (N, C) with `pre_logits`."""
        pooled = x.mean((2, 3))
        out: Tensor = pooled if pre_logits else self.fc(pooled)
        return out


class MobileOne(nn.Module):
    """MobileOne (arXiv 2206.04040) as a classifier.

    Args:
        variant: widths, depths and branches.
        num_classes: length of the logits; 0 gives pooled features.
        in_chans: channels of the input image.
        form: `"train"` (branches) or `"inference"` (one convolution a unit).
        output_stride: 32, or 16 or 8 with dilation instead of the last strides.
        input_spec: the pre-processing this network expects; default ImageNet's at 224 px.
        class_names: one name a class, folder names as a rule; None where unknown.
        task: `"singlelabel"`, one class an image, or `"multilabel"`: each logit is a label of its own.

    Attributes:
        licence: which of others' licences the weights keep, a name of `checkpoint.published`; None where none
            is known. What is saved, exported or quantized carries it.
        began_with: the published weights that these are or began with; None where none are known. What is
            saved carries it.

    Raises:
        ConfigError: on values that do not fit together.
    """

    licence: str | None = None
    began_with: str | None = None
    _class_names: tuple[str, ...] | None = None
    task: Task = "singlelabel"
    _decided: tuple[Decision, InputSpec] | None = None

    def __init__(
        self,
        variant: Variant,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        form: Form = "train",
        output_stride: int = 32,
        input_spec: InputSpec | None = None,
        class_names: Sequence[str] | None = None,
        task: Task = "singlelabel",
    ) -> None:
        super().__init__()
        self.variant = variant
        self.task = checked_task(task)
        self.in_chans = in_chans = check_count(in_chans, "in_chans", least=1)
        self.output_stride = output_stride
        self.num_features = self.head_hidden_size = variant.num_features
        self.input_spec = fitting_spec(input_spec, in_chans)
        self.stem, self.stages, levels = build_trunk(
            variant, in_chans=in_chans, form=form, output_stride=output_stride
        )
        self.feature_info = FeatureInfo(levels)
        self.reset_classifier(num_classes, class_names=class_names)

    @property
    def form(self) -> Form:
        """`"train"` while any unit has branches, else `"inference"`."""
        return "train" if any(isinstance(m, MobileOneBlock) for m in self.modules()) else "inference"

    @property
    def num_classes(self) -> int:
        """Length of the logits, as the head's last linear layer has it; 0 where there is none."""
        linear = [module for module in self.head.modules() if isinstance(module, nn.Linear)]
        return linear[-1].out_features if linear else 0

    @num_classes.setter
    def num_classes(self, number: int) -> None:
        if number != self.num_classes:
            raise ConfigError(
                f"num_classes is what the head gives, {self.num_classes}, and cannot be set to {number}; "
                f"call reset_classifier({number})"
            )

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """One name a class, folder names as a rule; None where unknown, as for a head put in by hand."""
        names = self._class_names
        return names if names is not None and len(names) == self.num_classes else None

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        if names is not None and len(names) != self.num_classes:
            raise ConfigError(f"{len(names)} class names given for {self.num_classes} classes")
        self._class_names = None if names is None else tuple(names)

    @property
    def decision(self) -> Decision | None:
        """How logits become calibrated probabilities and a sure answer; None where nobody fitted that.

        It belongs to these weights behind this pre-processing: a new head or another input spec drops it,
        and so does training; who changes weights by hand sets it to None.
        """
        if self._decided is None or self._decided[1] != self.input_spec:
            return None
        return self._decided[0]

    @decision.setter
    def decision(self, decision: Decision | None) -> None:
        if decision is not None:
            decision.check(self.num_classes)
        self._decided = None if decision is None else (decision, self.input_spec)

    def reset_classifier(self, num_classes: int, *, class_names: Sequence[str] | None = None) -> None:
        """Put a fresh head of `num_classes` outputs in place, on the network's device and dtype.

        Raises:
            ConfigError: if num_classes is no whole number, or class_names has another length.
        """
        num_classes = check_count(num_classes, "num_classes", least=0)
        if class_names is not None and len(class_names) != num_classes:
            raise ConfigError(f"{len(class_names)} class names given for {num_classes} classes")
        like = next(self.parameters())
        self.head = ClassifierHead(self.num_features, num_classes).to(like.device, like.dtype)
        self.head.train(self.training)
        self.class_names = None if class_names is None else tuple(class_names)
        self.decision = None

    def get_classifier(self) -> nn.Module:
        """The linear layer."""
        return self.head.fc

    def set_input_size(self, size: Size) -> None:
        """Record another size to evaluate at, a side or (height, width), pixels; no weight depends on it."""
        self.input_spec = replace(self.input_spec, size=size)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) to (N, num_features, ⌈H/32⌉, ⌈W/32⌉)."""
        out: Tensor = self.stages(self.stem(x))
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature map to logits (N, num_classes), or to (N, num_features) with `pre_logits`."""
        out: Tensor = self.head(x, pre_logits=pre_logits)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W), normalised as `input_spec` says, to logits (N, num_classes)."""
        return self.forward_head(self.forward_features(x))
