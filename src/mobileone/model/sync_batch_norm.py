"""BatchNorm over the images of every rank. torch's own needs CUDA; the one here works with gloo on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mobileone.functional.rank_statistics import gather_ranks, merge_statistics


def is_synchronised(norm: nn.Module) -> bool:
    """Whether a BatchNorm takes its statistics over ranks: this package's, torch's, or another's."""
    return hasattr(norm, "process_group")


def process_group_of(norm: nn.Module) -> dist.ProcessGroup | None:
    """The ranks a synchronised BatchNorm spans; None is all."""
    group: dist.ProcessGroup | None = getattr(norm, "process_group", None)
    return group


class _NormalizeOverRanks(torch.autograd.Function):
    """Normalise with the statistics of all ranks; one exchange forward, one backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x (N, C, H, W) to the output, and the count (1,), mean (C,) and biased variance (C,) of all."""
        local_mean, local_var = torch.batch_norm_update_stats(x, None, None, 0.0)
        local = torch.cat([local_mean.new_full((1,), x.numel() / x.shape[1]), local_mean, local_var])
        parts = gather_ranks(local)
        channels = x.shape[1]
        count, mean, var = merge_statistics(
            parts[:, :1], parts[:, 1 : 1 + channels], parts[:, 1 + channels :]
        )
        out = torch.batch_norm(x, weight, bias, mean, var, False, 0.0, eps, False)
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(count, mean, var)
        return out, count, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """As if mean and variance were constants, then the part that flows through them."""
        x, weight, mean, var, count = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        # With x̂ = (x − mean) / std: dx −= weight / std · (Σ dy + x̂ · Σ dy·x̂) / count, sums over all ranks.
        sums = torch.stack([grad_weight, grad_bias])
        dist.all_reduce(sums)
        inverse_std = (var + ctx.eps).rsqrt()
        scale = weight * inverse_std / count
        slope = scale * inverse_std * sums[0]
        offset = scale * sums[1] - slope * mean
        shape = (1, -1, 1, 1)
        grad_x = grad_x.addcmul_(x, slope.to(x.dtype).view(shape), value=-1).sub_(
            offset.to(x.dtype).view(shape)
        )
        return grad_x, grad_weight, grad_bias, None


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics are those of the whole batch, over all ranks."""

    process_group = None  # all ranks; what nn.SyncBatchNorm has too, and `is_synchronised` looks for

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        out, count, mean, var = _NormalizeOverRanks.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.eps
        )
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            # Running variances are unbiased; normalising uses the biased one.
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        result: Tensor = out
        return result


def convert_sync_batch_norm(model: nn.Module) -> nn.Module:
    """`model` with its BatchNorms synchronised over ranks: in place, on the same tensors and names.

    A state dict is the same before and after, so checkpoints need no ranks to load. Call it on the device
    that the model trains on, before DistributedDataParallel.
    """
    if next(model.parameters()).device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _synchronised(child))
    return model


def _synchronised(norm: nn.BatchNorm2d) -> SyncBatchNorm2d:
    sync = SyncBatchNorm2d(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    sync.weight, sync.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers():
        setattr(sync, name, buffer)
    return sync.train(norm.training)
