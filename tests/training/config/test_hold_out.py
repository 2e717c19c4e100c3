"""What a run holds out: shares and folds that make sense."""

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.hold_out import HoldOut
from mobileone.training.config.train_config import TrainConfig, override


def test_short_names_set_it():
    config = override(TrainConfig(data="photos"), ["folds=5", "fold=2", "split_by=looks"])
    assert config.hold_out == HoldOut(folds=5, fold=2, by="looks")
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert not TrainConfig().hold_out.is_on


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (["split=1"], r"hold_out\.share \(split\) must be in \(0, 1\)"),
        (["split=0.2", "folds=5"], "both hold images out; choose one"),
        (["folds=1"], r"hold_out\.folds \(folds\) must be 2 or more"),
        (["folds=5", "fold=6"], r"hold_out\.fold \(fold\) must be in 1\.\.5, got 6"),
        (["folds=5", "fold=-1"], r"must be in 1\.\.5, got -1"),
        (["fold=1"], "says which fold, not of how many"),
        (["split_by=people"], "must be"),
        (["split_by=looks"], "split_by=looks needs something held out; pass split=0.2 or folds"),
        (["split=0.2", "hold_out.seed=20261130123456"], r"hold_out\.seed must be in 0\.\.4294967295"),
        (["split=0.2", "val_data=other"], "val_data=other is for validation, so nothing of data is held out"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, wanted):
    with pytest.raises(ConfigError, match=wanted):
        override(TrainConfig(), settings)
