"""A network as several ranks train it."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mobileone.model.sync_batch_norm import convert_sync_batch_norm
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig

# torch 2.13 renamed the option, and warns at the old name.
BUFFER_OPTION = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel.__init__).parameters
)


def wrap_ddp(network: nn.Module, config: TrainConfig, dist: Distributed) -> nn.Module:
    """The network as several ranks train it; alone it is itself."""
    if dist.world_size == 1:
        return network
    if config.compute.sync_bn:
        network = convert_sync_batch_norm(network)
    options: dict[str, Any] = {
        BUFFER_OPTION: not config.compute.sync_bn,
        # Gradients lie in what is sent, which saves a copy of all of them.
        "gradient_as_bucket_view": True,
        # Every step is the same graph but where gradients wait for the last part of a batch.
        "static_graph": config.compute.accumulate == 1,
    }
    # A 1×1 kernel's last two strides mean nothing, and DDP warns where they are not the ones it would choose.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DistributedDataParallel(
        network,
        device_ids=[dist.device.index] if dist.device.type == "cuda" else None,
        **options,
    )
