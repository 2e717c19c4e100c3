"""Two ranks that share statistics train as one process with the whole batch does."""

import subprocess
import sys

import torch
from torch import nn

from mobileone.model.sync_batch_norm import (
    SyncBatchNorm2d,
    convert_sync_batch_norm,
    is_synchronised,
    process_group_of,
)

SCRIPT = """
import copy, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
import mobileone
from mobileone.model.branch_mode import set_branch_mode
from mobileone.model.sync_batch_norm import convert_sync_batch_norm
from mobileone.variants import Variant

torch.set_num_threads(1)
rank = int(sys.argv[2])
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
# Unequal shares: the exchange has to weigh them.
part = slice(0, 6) if rank == 0 else slice(6, 10)
x, y = torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double(), torch.arange(10) % 4

def loss(model, images, labels):
    return nn.functional.cross_entropy(model(images), labels, reduction="sum")

def compare(what, ours, wanted):
    error = (ours.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp(min=1e-6)
    assert error < 1e-8, (what, error)

for k in (1, 3):
    torch.manual_seed(0)
    variant = Variant("tiny", (16, 16, 16, 32), num_conv_branches=k, depths=(1, 1, 2, 1))
    start = mobileone.create_model(variant, num_classes=4).double()
    whole = set_branch_mode(copy.deepcopy(start), "branches")
    loss(whole, x, y).backward()
    for mode in ("branches", "online"):
        ranks = convert_sync_batch_norm(set_branch_mode(copy.deepcopy(start), mode))
        # DistributedDataParallel averages over ranks, so twice the sum comes to the sum.
        wrapped = DistributedDataParallel(ranks)
        (2 * loss(wrapped, x[part], y[part])).backward()
        for (name, p), q in zip(whole.named_parameters(), ranks.named_parameters(), strict=True):
            compare((k, mode, name), q[1].grad, p.grad)
        for (name, p), q in zip(whole.named_buffers(), ranks.buffers(), strict=True):
            compare((k, mode, name), q, p)
    alone = set_branch_mode(copy.deepcopy(start), "online")
    loss(alone, x[part], y[part]).backward()
    pairs = zip(alone.parameters(), whole.parameters(), strict=True)
    worst = max((p.grad - q.grad).norm() / q.grad.norm() for p, q in pairs)
    assert worst > 0.1, "statistics of one rank alone would pass this test"
dist.destroy_process_group()
"""


def run_two_ranks(script, tmp_path):
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "store")]
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


def test_two_ranks_are_one_process_with_the_whole_batch(tmp_path):
    run_two_ranks(SCRIPT, tmp_path)


def test_conversion_keeps_tensors_names_and_eval():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2, eps=1e-3, momentum=0.3)))
    before = dict(model.state_dict(keep_vars=True))
    x = torch.randn(3, 1, 4, 4)
    expected = model.eval()(x)
    converted = convert_sync_batch_norm(model)
    norm = converted[1][0]
    assert isinstance(norm, SyncBatchNorm2d)
    assert (norm.eps, norm.momentum, norm.training) == (1e-3, 0.3, False)
    after = converted.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert torch.equal(converted(x), expected)


def test_what_is_synchronised():
    for norm in (SyncBatchNorm2d(3), nn.SyncBatchNorm(3)):
        assert is_synchronised(norm)
        assert process_group_of(norm) is None, "all ranks"
    assert not is_synchronised(nn.BatchNorm2d(3))


EXCHANGES = """
import sys
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
import mobileone
from mobileone.functional import rank_statistics
from mobileone.model.block import MobileOneBlock
from mobileone.model.sync_batch_norm import convert_sync_batch_norm

rank = int(sys.argv[2])
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
torch.manual_seed(0)
model = mobileone.create_model("mobileone_s0", num_classes=4)
units = sum(isinstance(module, MobileOneBlock) for module in model.modules())
calls = []
GATHER = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"
for name in (GATHER, "all_gather", "all_reduce", "broadcast"):
    real = getattr(dist, name)
    setattr(dist, name, lambda *a, name=name, real=real, **k: calls.append(name) or real(*a, **k))

class Waiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.partition("::")[2]
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select"), name
        return func(*args, **(kwargs or {}))

for mode in ("branches", "online"):
    convert_sync_batch_norm(mobileone.set_branch_mode(model, mode)).train()
    calls.clear()
    with Waiting():
        model(torch.randn(3, 3, 32, 32)).sum().backward()
    assert sorted(calls) == [GATHER] * units + ["all_reduce"] * units, (mode, len(calls), units)
seen = []
unit = model.stages[0][0]
unit.conv_kxk[0].bn.register_forward_hook(lambda *_: seen.append(1))
mobileone.set_branch_mode(model, "branches")
model(torch.randn(3, 3, 32, 32))
assert seen == [1], "a hook on a BatchNorm is called"
dist.destroy_process_group()
"""


def test_ranks_exchange_once_a_unit_each_way_and_read_nothing_back(tmp_path):
    run_two_ranks(EXCHANGES, tmp_path)
