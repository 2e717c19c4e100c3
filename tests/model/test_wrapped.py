"""Networks come out of what PyTorch wraps around them."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from mobileone.errors import ConfigError
from mobileone.model.create import create_model
from mobileone.model.wrapped import as_network, unwrap


@pytest.fixture
def one_rank(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_every_wrapper_is_taken_off(tiny, one_rank):
    model = create_model(tiny)
    for wrap in (nn.DataParallel, DistributedDataParallel, torch.compile):
        assert unwrap(wrap(model)) is model
        assert as_network(wrap(model), wanted="") is model
    averaged = AveragedModel(model)
    assert unwrap(averaged) is averaged.module
    assert unwrap(torch.compile(nn.DataParallel(DistributedDataParallel(model)))) is model


def test_other_things_are_left_and_refused_as_networks(tiny):
    thing = nn.ReLU()
    assert unwrap(thing) is thing
    assert unwrap("s0.onnx") == "s0.onnx"
    with pytest.raises(ConfigError, match=r"^it takes a MobileOne, got ReLU$"):
        as_network(thing, wanted="it takes a MobileOne")
    holder = nn.ModuleDict({"backbone": create_model(tiny)})
    with pytest.raises(ConfigError, match=r"got ModuleDict; it holds one, give its \.backbone$"):
        as_network(nn.DataParallel(holder), wanted="it takes a MobileOne")
    with pytest.raises(ConfigError, match="got dict"):
        as_network({}, wanted="it takes a MobileOne")
