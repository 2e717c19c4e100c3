"""A network as several ranks train it. That they agree with one is tested in tests/ranks and test_fit.py."""

import inspect

import torch
from torch.nn.parallel import DistributedDataParallel

from mobileone.model.create import create_model
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run import ddp
from mobileone.training.run.ddp import BUFFER_OPTION, wrap_ddp


def test_alone_a_network_stays_itself(config: TrainConfig) -> None:
    network = create_model(config.model, num_classes=2)
    assert wrap_ddp(network, config, Distributed()) is network


def test_torch_has_the_option_under_one_of_its_names() -> None:
    assert BUFFER_OPTION in inspect.signature(DistributedDataParallel.__init__).parameters


def test_buffers_are_exchanged_unless_the_norms_do_it(config: TrainConfig, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(ddp, "DistributedDataParallel", lambda network, **options: made.append(options))
    monkeypatch.setattr(ddp, "convert_sync_batch_norm", lambda network: made.append("converted") or network)
    two = Distributed(world_size=2, device=torch.device("cpu"))
    network = create_model(config.model, num_classes=2)
    wrap_ddp(network, config, two)
    wrap_ddp(network, config.with_values({"compute.sync_bn": False}), two)
    wrap_ddp(network, config.with_values({"compute.accumulate": 2, "compute.sync_bn": False}), two)
    common = {"device_ids": None, "gradient_as_bucket_view": True}
    assert made == [
        "converted",
        common | {BUFFER_OPTION: False, "static_graph": True},
        common | {BUFFER_OPTION: True, "static_graph": True},
        common | {BUFFER_OPTION: True, "static_graph": False},
    ]
