"""A callback needs no more than the methods it wants. That they are called is tested in test_loop.py."""

from pathlib import Path

import pytest

from mobileone.errors import TrainingError
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import EpochRecord


def test_one_that_wants_nothing_changes_nothing(config: TrainConfig, tmp_path: Path) -> None:
    told = fit(config, run_dir=tmp_path / "a", callbacks=[Callback()], progress=False)
    alone = fit(config, run_dir=tmp_path / "b", progress=False)
    assert told.last.loss == alone.last.loss


def test_an_error_in_one_ends_the_run_which_can_go_on(config: TrainConfig, tmp_path: Path) -> None:
    class Fails(Callback):
        def on_epoch_end(self, record: EpochRecord) -> None:
            raise TrainingError("full")

    with pytest.raises(TrainingError, match="full"):
        fit(config, run_dir=tmp_path / "run", callbacks=[Fails()], progress=False)
    assert len(fit(None, run_dir=tmp_path / "run", resume=True, progress=False).records) == 2
