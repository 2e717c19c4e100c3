import subprocess
import sys

import torch
from torch.nn import functional as F

from mobileone.model import block as block_module
from mobileone.model.block import MobileOneBlock, SqueezeExcite
from mobileone.model.sync_batch_norm import convert_sync_batch_norm
from mobileone.variants import BlockSpec


def test_train_form_is_the_textbook_sum_of_branches(randomize):
    block = randomize(MobileOneBlock(BlockSpec(16, 16, 3, num_conv_branches=2, use_se=True)).double())
    x = torch.randn(2, 16, 7, 7, dtype=torch.float64)
    bn = lambda m, z: F.batch_norm(z, m.running_mean, m.running_var, m.weight, m.bias, eps=m.eps)  # noqa: E731
    total = bn(block.identity, x)
    total = total + bn(block.conv_scale.bn, F.conv2d(x, block.conv_scale.conv.weight))
    for branch in block.conv_kxk:
        total = total + bn(branch.bn, F.conv2d(x, branch.conv.weight, padding=1))
    assert torch.allclose(block(x), block.attn(total).relu(), rtol=1e-12)


def test_squeeze_excite_by_hand():
    se = SqueezeExcite(16).double()
    x = torch.rand(2, 16, 3, 3, dtype=torch.float64)
    hidden = (x.mean((2, 3)) @ se.fc1.weight.flatten(1).T + se.fc1.bias).relu()
    gate = (hidden @ se.fc2.weight.flatten(1).T + se.fc2.bias).sigmoid()
    assert torch.allclose(se(x), x * gate[:, :, None, None], rtol=1e-12)


STEM = """
import torch
from mobileone.model.block import MobileOneBlock
from mobileone.variants import BlockSpec
torch.manual_seed(0)
stem = MobileOneBlock(BlockSpec(3, 48, 3, 2))
x = torch.randn(4, 3, 128, 128)
def gradient(x):
    stem.zero_grad()
    stem(x).square().sum().backward()
    return stem.conv_scale.conv.weight.grad.clone()
plain = gradient(x)
for _ in range(20):
    stem.to(memory_format=torch.channels_last)
    last = gradient(x.to(memory_format=torch.channels_last))
    assert torch.allclose(plain, last, rtol=1e-3, atol=1e-3 * plain.abs().max()), (plain - last).abs().max()
"""


def test_the_stem_trains_in_channels_last():
    """In a process of its own: the torch bug that `subsample` steps around kills the process."""
    done = subprocess.run([sys.executable, "-c", STEM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_step_by_branches_looks_for_alterations_only_where_ranks_exchange(monkeypatch):
    asked = []
    monkeypatch.setattr(block_module, "branch_alteration", lambda unit, **_: asked.append(unit))
    block = MobileOneBlock(BlockSpec(16, 16, 3, num_conv_branches=2)).train()
    block.branch_mode = "branches"
    block(torch.randn(2, 16, 7, 7))
    assert not asked, "it takes longer than a small unit on a GPU"
    synced = convert_sync_batch_norm(block)
    monkeypatch.setattr(block, "_sum_over_ranks", lambda norms, x: x)
    synced(torch.randn(2, 16, 7, 7))
    assert asked == [synced]
