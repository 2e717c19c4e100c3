"""Fields of a run's groups by a short name, and configurations from before there were groups.

Every field once stood in `TrainConfig` itself, by the names that are keys here. They go on as short names
of settings, and a config.json of that time (version 1) is read by them. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHORT_NAMES = {
    "input_size": "input_spec.size",
    "eval_crop": "input_spec.crop",
    "eval_interpolation": "input_spec.interpolation",
    "fit": "input_spec.fit",
    "exif": "input_spec.exif",
    "mean": "input_spec.mean",
    "std": "input_spec.std",
    "split": "hold_out.share",
    "split_by": "hold_out.by",
    "folds": "hold_out.folds",
    "fold": "hold_out.fold",
    **{
        name: f"{group}.{name}"
        for group, names in {
            "augment": ("crop_scale", "crop_ratio", "flip", "interpolation"),
            "objective": (
                "loss",
                "label_smoothing",
                "class_weights",
                "gamma_positive",
                "gamma_negative",
                "margin",
            ),
            "optim": (
                "base_lr",
                "min_lr",
                "warmup_epochs",
                "momentum",
                "weight_decay",
                "weight_decay_end",
                "clip_norm",
                "ema_decay",
            ),
            "compute": ("device", "amp", "channels_last", "sync_bn", "branch_mode", "accumulate"),
            "loading": ("num_workers", "on_bad_image", "sampling"),
            "saving": ("checkpoint_every", "keep_checkpoints", "weights_suffix", "select"),
        }.items()
        for name in names
    },
}
"""Short name to full name."""


def grouped(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a version-1 configuration under the names of today; names that it does not know stay.

    >>> grouped({"epochs": 2, "flip": 0.0, "augment": {"policy": "none"}})
    {'epochs': 2, 'augment': {'policy': 'none', 'flip': 0.0}}
    """
    result: dict[str, Any] = {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if name not in SHORT_NAMES
    }
    for name, value in values.items():
        if name in SHORT_NAMES:
            group, _, field = SHORT_NAMES[name].partition(".")
            result.setdefault(group, {})[field] = value
    return result
