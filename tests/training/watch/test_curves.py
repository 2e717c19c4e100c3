"""The picture of a run."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileone.errors import MissingExtraError
from mobileone.training.watch.curves import draw_curves
from mobileone.training.watch.records import EpochRecord


def record(epoch: int, acc1: float | None) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        step=10,
        train_loss=2.0 / epoch,
        val_loss=None if acc1 is None else 1.5 / epoch,
        metrics={} if acc1 is None else {"acc1": acc1, "acc5": 99.0},
        lr=0.1 / epoch,
        weight_decay=1e-4,
        seconds=1.0,
        images_per_second=10.0,
        data_wait=0.1,
    )


@pytest.mark.parametrize(
    "accuracies",
    [[50.0], [None], [None, 40.0, None, 60.0], list(range(40))],
    ids=["one", "none", "rare", "long"],
)
def test_it_draws_every_kind_of_run(accuracies: list[float | None], tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves([record(epoch, acc1) for epoch, acc1 in enumerate(accuracies, start=1)], path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 1000
    assert (pixels != 255).any(axis=2).mean() > 0.01
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"mobileone\[train\]"):
        draw_curves([record(1, 50.0)], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
