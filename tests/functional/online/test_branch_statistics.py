import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobileone.functional.online.branch_statistics import (
    BranchStatistics,
    branch_statistics,
    update_running_statistics,
)
from mobileone.functional.online.moments import reference_moments
from mobileone.functional.window import Window

SAME = Window((3, 3), padding=(1, 1))


def measured(outputs):
    """Mean and biased variance of each branch's output, (B, C) each."""
    pairs = [torch.var_mean(z, (0, 2, 3), correction=0) for z in outputs]
    return BranchStatistics(torch.stack([mean for _, mean in pairs]), torch.stack([var for var, _ in pairs]))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_mean_and_variance_are_those_of_the_branches_outputs_and_so_are_gradients(groups):
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 6, 6 // groups, 3, 3, dtype=torch.float64, requires_grad=True)
    got = branch_statistics(weight, reference_moments(x, SAME, groups=groups), identity=True)
    outputs = [F.conv2d(x, w, padding=1, groups=groups) for w in weight] + [x]
    wanted = measured(outputs)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    factor = torch.randn(2, 3, 6, dtype=torch.float64)
    losses = [(value * factor).sum() for value in (torch.stack(got), torch.stack(wanted))]
    for a, b in zip(*(torch.autograd.grad(loss, (x, weight)) for loss in losses), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 6])
def test_small_patches_are_no_matrix_products_for_a_gpu_to_round(groups):
    """Of neighbours, which are alike, a kernel that sums to 0 has little variance: TF32 lost 16 % of one."""
    moments = reference_moments(torch.randn(2, 6, 5, 5)[:, : 3 if groups == 1 else 6], SAME, groups=groups)
    weight = torch.randn(2, 6, 3 if groups == 1 else 1, 3, 3)
    with torch.profiler.profile() as profile:
        branch_statistics(weight, moments)
    assert not {event.key for event in profile.key_averages()} & {"aten::mm", "aten::bmm", "aten::matmul"}


def test_the_variance_of_a_constant_is_not_below_zero():
    weight = torch.randn(1, 64, 1, 3, 3)
    statistics = branch_statistics(
        weight, reference_moments(torch.full((1, 64, 5, 5), 1e4), Window((3, 3)), groups=64)
    )
    assert (statistics.var >= 0).all()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_move_as_batch_norm_moves_them(momentum):
    zs = [torch.randn(4, 3, 5, 5, dtype=torch.float64) * (i + 1) + i for i in range(2)]
    norms, twins = ([nn.BatchNorm2d(3, momentum=momentum).double() for _ in zs] for _ in range(2))
    for _ in range(2):
        for twin, z in zip(twins, zs, strict=True):
            twin(z)
        update_running_statistics(norms, measured(zs), 100)
    for norm, twin in zip(norms, twins, strict=True):
        assert norm.state_dict().keys() == twin.state_dict().keys()
        for a, b in zip(norm.buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_frozen_norms_and_those_without_running_statistics_are_left_alone():
    frozen, without = nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3, track_running_stats=False)
    update_running_statistics([frozen, without], BranchStatistics(torch.ones(2, 3), torch.ones(2, 3)), 10)
    assert frozen.running_mean.tolist() == [0, 0, 0]
    assert (frozen.num_batches_tracked.item(), without.running_mean) == (0, None)
