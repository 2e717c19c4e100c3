"""Where a run is told of, by name."""

import sys

import pytest

from mobileone.errors import ConfigError, MissingExtraError
from mobileone.training.watch.open_tracker import open_tracker
from mobileone.training.watch.tensorboard import TensorBoard


def test_tensorboard_by_name():
    pytest.importorskip("tensorboard")
    assert isinstance(open_tracker("tensorboard"), TensorBoard)
    with pytest.raises(ConfigError, match="keeps no files of a run; leave files out"):
        open_tracker("tensorboard", files=True)


@pytest.mark.parametrize("address", ["comet", "", "tensorboard:x", "mlflow:", "wandb:"])
def test_other_names_are_refused_with_those_that_are_known(address):
    with pytest.raises(ConfigError, match=r"tensorboard, mlflow\[:URI\], wandb\[:PROJECT\], got "):
        open_tracker(address)


@pytest.mark.parametrize(("address", "package"), [("mlflow", "mlflow"), ("wandb:me/pets", "wandb")])
def test_each_goes_to_its_own(address, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"mobileone\[{package}\]"):
        open_tracker(address)
