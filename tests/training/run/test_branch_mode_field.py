import pytest
import torch
from safetensors.torch import load_file

from mobileone.data.digits import Digits
from mobileone.data.open import open_data
from mobileone.errors import ConfigError
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.initial import initial_model
from mobileone.training.run.fit import fit
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.callback import Callback


@pytest.mark.parametrize("mode", ["auto", "branches", "online"])
def test_the_network_trains_in_the_mode_of_the_config(tiny, mode):
    config = TrainConfig(model=tiny, data="digits", batch_size=8).with_values(
        {"input_spec.size": 32, "compute.branch_mode": mode, "loading.num_workers": 0}
    )
    data = open_data("digits", split="train")
    assert isinstance(data, Digits)
    assert Trainer(config, data, Distributed()).network.stem.branch_mode == mode


def test_another_mode_is_refused():
    with pytest.raises(ConfigError, match="branch_mode must be one of auto, branches, online"):
        TrainConfig().with_values({"compute.branch_mode": "fast"})


class StoppedError(Exception):
    """A run cut off after its first epoch."""


class StopAfterOne(Callback):
    def on_epoch_end(self, record):
        raise StoppedError


def test_online_training_resumes_and_averages_as_the_branches_do(config, tmp_path):
    modes = {mode: config.with_values({"compute.branch_mode": mode}) for mode in ("branches", "online")}
    whole = {mode: fit(modes[mode], run_dir=tmp_path / mode, progress=False) for mode in modes}
    with pytest.raises(StoppedError):
        fit(modes["online"], run_dir=tmp_path / "parts", callbacks=[StopAfterOne()], progress=False)
    resumed = fit(modes["online"], run_dir=tmp_path / "parts", resume=True, progress=False)
    assert (resumed.last.loss, resumed.best_value) == (whole["online"].last.loss, whole["online"].best_value)
    averaged = {
        run: load_file(tmp_path / run / "last.safetensors") for run in ("branches", "online", "parts")
    }
    start = initial_model(config, open_data(config.data, split="train")).state_dict()
    for name, wanted in averaged["branches"].items():
        assert torch.equal(averaged["parts"][name], averaged["online"][name]), name
        # The branches' weights up to rounding, which is little beside what they have learnt.
        moved = (wanted.double() - start[name].double()).norm()
        assert (averaged["online"][name].double() - wanted.double()).norm() <= 0.05 * moved + 1e-4, name
