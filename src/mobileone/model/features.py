"""The trunk alone, giving feature maps: what detection and segmentation code takes."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from torch import Tensor, nn

from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.block import MobileOneBlock
from mobileone.model.network import FeatureInfo, MobileOne, build_trunk, fitting_spec
from mobileone.variants import NUM_STAGES, Form, Variant, check_count


class FeatureExtractor(nn.Module):
    """Stem and stages, returning the levels asked for, finest first.

    Its state dict is the classifier's without the head. Stages behind the last level asked for are not
    built, and loading a classifier's weights into it is `load_state_dict(..., strict=False)`.

    Args:
        variant: widths, depths and branches.
        in_chans: channels of the input image.
        form: `"train"` or `"inference"`.
        output_stride: 32, 16 or 8.
        out_indices: levels to return, 0 (stem) to 4 (last stage); negative counts from the end. Default all.
        input_spec: the pre-processing expected.

    Raises:
        ConfigError: on a level that does not exist or stands twice, or an input_spec for other channels.

    >>> from mobileone.variants import VARIANTS
    >>> FeatureExtractor(VARIANTS["mobileone_s0"], out_indices=(2, 3, 4)).feature_info.channels()
    [128, 256, 1024]
    """

    licence: str | None = None
    began_with: str | None = None
    """Both of the weights, see `MobileOne`."""

    def __init__(
        self,
        variant: Variant,
        *,
        in_chans: int = 3,
        form: Form = "train",
        output_stride: int = 32,
        out_indices: Sequence[int] | None = None,
        input_spec: InputSpec | None = None,
    ) -> None:
        super().__init__()
        num_levels = NUM_STAGES + 1
        try:
            wanted = tuple(range(num_levels) if out_indices is None else map(operator.index, out_indices))
        except TypeError as error:
            raise ConfigError(f"out_indices must be a list of levels, got {out_indices!r}") from error
        if not wanted or any(not -num_levels <= i < num_levels for i in wanted):
            raise ConfigError(f"out_indices must be levels 0 to {num_levels - 1}, got {wanted}")
        indices = tuple(i % num_levels for i in wanted)
        if list(indices) != sorted(set(indices)):
            raise ConfigError(f"out_indices must rise and not repeat, got {wanted}")
        self.variant = variant
        self.in_chans = in_chans = check_count(in_chans, "in_chans", least=1)
        self.output_stride = output_stride
        self.input_spec = fitting_spec(input_spec, in_chans)
        self.out_indices = indices
        self.stem, stages, levels = build_trunk(
            variant, in_chans=in_chans, form=form, output_stride=output_stride
        )
        self.stages = nn.Sequential(*list(stages)[: indices[-1]])
        self.feature_info = FeatureInfo(levels, indices)

    @property
    def form(self) -> Form:
        """`"train"` while any unit has branches, else `"inference"`."""
        return "train" if any(isinstance(m, MobileOneBlock) for m in self.modules()) else "inference"

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, in_chans, H, W) to one (N, C_i, H/r_i, W/r_i) a level, r_i its reduction."""
        x = self.stem(x)
        outputs = [x] if 0 in self.out_indices else []
        for level, stage in enumerate(self.stages, start=1):
            x = stage(x)
            if level in self.out_indices:
                outputs.append(x)
        return outputs


Network = MobileOne | FeatureExtractor
"""Either of our networks: what files of other runtimes are written from."""
