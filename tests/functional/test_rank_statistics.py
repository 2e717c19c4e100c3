"""One process; two ranks are tests/model/test_sync_batch_norm.py's."""

import torch
import torch.distributed as dist

from mobileone.functional.rank_statistics import gather_ranks, merge_statistics, statistics_of_all_ranks


def test_merged_statistics_are_those_of_the_whole_far_from_zero():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float32) + 1e4
    parts = [x[:5], x[5:18], x[18:]]
    counts = torch.tensor([[float(len(p))] for p in parts])
    means = torch.stack([p.mean(0) for p in parts])
    variances = torch.stack([p.var(0, correction=0) for p in parts])
    count, mean, var = merge_statistics(counts, means, variances)
    assert count.item() == 30
    torch.testing.assert_close(mean, x.mean(0))
    torch.testing.assert_close(var, x.var(0, correction=0), rtol=1e-3, atol=0)
    naive = (counts * (variances + means.square())).sum(0) / 30 - mean.square()  # what must not be done
    assert (naive - var).abs().max() > 0.1


def test_branches_are_merged_one_by_one():
    means, variances = torch.randn(2, 3, 4), torch.rand(2, 3, 4)
    counts = torch.tensor([2.0, 5.0])
    _, mean, var = merge_statistics(counts.view(-1, 1, 1), means, variances)
    for branch in range(3):
        _, one_mean, one_var = merge_statistics(counts.view(-1, 1), means[:, branch], variances[:, branch])
        torch.testing.assert_close((mean[branch], var[branch]), (one_mean, one_var))


def test_one_rank_alone_gathers_its_own(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        value = torch.arange(3.0)
        assert torch.equal(gather_ranks(value), value[None])
        given = [torch.randn(2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        *got, count = statistics_of_all_ranks(*given, 7)
        torch.testing.assert_close(got, given)
        assert (count.item(), count.shape) == (7, ())
        grads = torch.autograd.grad(got[0].sum() + 3 * got[1].sum(), given)
        torch.testing.assert_close(grads, (torch.ones(2, 4).double(), 3 * torch.ones(2, 4).double()))
    finally:
        dist.destroy_process_group()
