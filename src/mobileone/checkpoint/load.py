"""One door for every model: a name, a run folder, a file of any format, the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, overload

import torch

from mobileone.model.features import FeatureExtractor
from mobileone.model.network import MobileOne
from mobileone.variants import Form


@overload
def load_model(
    source: str | os.PathLike[str],
    *,
    form: Form | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    features_only: Literal[False] = False,
    out_indices: None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> MobileOne: ...


@overload
def load_model(
    source: str | os.PathLike[str],
    *,
    form: Form | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    features_only: Literal[True],
    out_indices: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> FeatureExtractor: ...


def load_model(
    source: str | os.PathLike[str],
    *,
    form: Form | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> MobileOne | FeatureExtractor:
    """Being written."""
    raise NotImplementedError
