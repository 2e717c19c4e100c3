"""Two ranks that share statistics train as one process with the whole batch does."""

import subprocess
import sys

import pytest

SCRIPT = '''
import copy, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
import mobileone
from mobileone.model.branch_mode import set_branch_mode
from mobileone.train.sync_batch_norm import convert_sync_batch_norm
from mobileone.variants import Variant

k, mode = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
rank = int(sys.argv[4])
dist.init_process_group("gloo", init_method="file://" + sys.argv[3], rank=rank, world_size=2)
torch.manual_seed(0)
variant = Variant("tiny", (16, 16, 16, 32), num_conv_branches=k, depths=(1, 1, 2, 1))
whole = set_branch_mode(mobileone.create_model(variant, num_classes=4).double(), "branches")
# Unequal shares: the exchange has to weigh them.
x, y = torch.randn(10, 3, 64, 64, dtype=torch.float64), torch.arange(10) % 4
part = slice(0, 6) if rank == 0 else slice(6, 10)
ranks = convert_sync_batch_norm(set_branch_mode(copy.deepcopy(whole), mode))
wrapped = DistributedDataParallel(ranks)
nn.functional.cross_entropy(whole(x), y, reduction="sum").backward()
# DistributedDataParallel averages over ranks; sums of losses times their number give the sum.
(2 * nn.functional.cross_entropy(wrapped(x[part]), y[part], reduction="sum")).backward()

def compare(what, ours, wanted):
    error = (ours.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp(min=1e-6)
    assert error < 1e-8, (what, error)

for (name, p), q in zip(whole.named_parameters(), ranks.parameters(), strict=True):
    compare(name, q.grad, p.grad)
for (name, p), q in zip(whole.named_buffers(), ranks.buffers(), strict=True):
    compare(name, q, p)
if mode == "online":
    alone = set_branch_mode(copy.deepcopy(whole), mode)
    alone.zero_grad()
    nn.functional.cross_entropy(alone(x[part]), y[part], reduction="sum").backward()
    worst = max((p.grad - q.grad).norm() / q.grad.norm() for p, q in zip(alone.parameters(), ranks.parameters()))
    assert worst > 0.1, "statistics of one rank alone would pass this test"
dist.destroy_process_group()
'''


@pytest.mark.parametrize("branches", [1, 3])
@pytest.mark.parametrize("mode", ["branches", "online"])
def test_two_ranks_are_one_process_with_the_whole_batch(branches, mode, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(branches), mode, str(tmp_path / "store")]
    ranks = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in (0, 1)
    ]
    try:
        said = [rank.communicate(timeout=120)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], said
