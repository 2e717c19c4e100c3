import pytest

from mobileone.data.digits import Digits
from mobileone.errors import ConfigError
from mobileone.train.config import TrainConfig
from mobileone.train.distributed import Distributed
from mobileone.train.trainer import Trainer


@pytest.mark.parametrize("mode", ["auto", "branches", "online"])
def test_the_network_trains_in_the_mode_of_the_config(tiny, mode):
    from mobileone.evaluation.run import open_data

    config = TrainConfig(
        model=tiny, data="digits", input_size=32, batch_size=8, branch_mode=mode, num_workers=0
    )
    data = open_data("digits", split="train")
    assert isinstance(data, Digits)
    assert Trainer(config, data, Distributed()).network.stem.branch_mode == mode


def test_another_mode_is_refused():
    with pytest.raises(ConfigError, match="branch_mode must be one of auto, branches, online"):
        TrainConfig(branch_mode="fast")
