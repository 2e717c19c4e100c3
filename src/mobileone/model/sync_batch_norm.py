"""BatchNorm over the images of every rank, one exchange a unit, on CPUs and GPUs.

torch's own refuses a CPU; on CUDA it selects by a mask three times a BatchNorm, for each of which the host
waits for the device, and exchanges twice a BatchNorm: 678 waits and 452 exchanges in a step of S0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mobileone.functional.first_order import first_order
from mobileone.functional.rank_statistics import gather_ranks, merge_statistics


def is_synchronised(norm: nn.Module) -> bool:
    """Whether a BatchNorm takes its statistics over ranks: this package's, torch's, or another's."""
    return hasattr(norm, "process_group")


def process_group_of(norm: nn.Module) -> dist.ProcessGroup | None:
    """The ranks a synchronised BatchNorm spans; None is all."""
    group: dist.ProcessGroup | None = getattr(norm, "process_group", None)
    return group


class _NormalizeOverRanks(torch.autograd.Function):
    """Normalise tensors with the statistics of all ranks; one exchange forward, one backward, for all."""

    @staticmethod
    def forward(ctx: Any, eps: tuple[float, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        """eps of each of B branches, then their inputs (N, C, H, W), weights and biases (C,).

        Returns the B outputs, and of all ranks the count (1,), mean and biased variance (B, C).
        """
        num = len(eps)
        inputs, weights, biases = tensors[:num], tensors[num : 2 * num], tensors[2 * num :]
        local = [torch.batch_norm_update_stats(x, None, None, 0.0) for x in inputs]
        channels = inputs[0].shape[1]
        flat = torch.stack([value for pair in local for value in pair]).flatten()
        count = flat.new_full((1,), inputs[0].numel() / channels)
        parts = gather_ranks(torch.cat([flat, count]))
        means, variances = parts[:, :-1].view(-1, num, 2, channels).unbind(2)
        total, mean, var = merge_statistics(parts[:, -1].view(-1, 1, 1), means, variances)
        outs = [
            torch.batch_norm(x, weight, bias, m, v, False, 0.0, e, False)
            for x, weight, bias, m, v, e in zip(inputs, weights, biases, mean, var, eps, strict=True)
        ]
        total = total.view(1)
        ctx.save_for_backward(*inputs, *weights, mean, var, total)
        ctx.eps = eps
        ctx.mark_non_differentiable(total, mean, var)
        return (*outs, total, mean, var)

    @staticmethod
    @first_order
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """As if means and variances were constants, then the part that flows through them."""
        num, (*tensors, mean, var, count) = len(ctx.eps), ctx.saved_tensors
        inputs, weights = tensors[:num], tensors[num:]
        found = [
            torch.ops.aten.native_batch_norm_backward(
                grad, x, weight, m, v, None, None, False, eps, [True, True, True]
            )
            for grad, x, weight, m, v, eps in zip(
                grads[:num], inputs, weights, mean, var, ctx.eps, strict=True
            )
        ]
        # With x̂ = (x − mean) / std: dx −= weight / std · (Σ dy + x̂ · Σ dy·x̂) / count, sums over all ranks.
        sums = torch.stack([torch.stack(grads[1:]) for grads in found])
        dist.all_reduce(sums)
        grad_inputs = []
        for (grad_x, *_), x, weight, m, v, eps, total in zip(
            found, inputs, weights, mean, var, ctx.eps, sums, strict=True
        ):
            inverse_std = (v + eps).rsqrt()
            scale = weight * inverse_std / count
            slope = scale * inverse_std * total[0]
            offset = scale * total[1] - slope * m
            shape = (1, -1, 1, 1)
            grad_x = grad_x.addcmul_(x, slope.to(x.dtype).view(shape), value=-1)
            grad_inputs.append(grad_x.sub_(offset.to(x.dtype).view(shape)))
        return (None, *grad_inputs, *(of[1] for of in found), *(of[2] for of in found))


def normalize_together(norms: Sequence[SyncBatchNorm2d], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Each norm's output for its input, in training, with one exchange between the ranks for all of them.

    Args:
        norms: in training mode, of equal channels; running statistics move on.
        inputs: one each, (N, C, H, W), of equal size.
    """
    eps = tuple(norm.eps for norm in norms)
    parameters = [norm.weight for norm in norms] + [norm.bias for norm in norms]
    *outs, count, mean, var = _NormalizeOverRanks.apply(  # type: ignore[no-untyped-call]
        eps, *inputs, *parameters
    )
    with torch.no_grad():
        # Running variances are unbiased; normalising uses the biased one.
        unbiased = var * (count / (count - 1))
        for norm, m, v in zip(norms, mean, unbiased, strict=True):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.num_batches_tracked is not None
            assert norm.momentum is not None
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(m, norm.momentum)
            norm.running_var.lerp_(v, norm.momentum)
    return list(outs)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics are those of the whole batch, over all ranks."""

    process_group = None  # all ranks; what nn.SyncBatchNorm has too, and `is_synchronised` looks for

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(input)
        return normalize_together([self], [input])[0]


def convert_sync_batch_norm(model: nn.Module) -> nn.Module:
    """`model` with its BatchNorms synchronised over ranks: in place, on the same tensors and names.

    A state dict is the same before and after, so checkpoints need no ranks to load. Call it on the device
    that the model trains on, before DistributedDataParallel.
    """
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
