import torch
from torch import nn
from torch.nn import functional as F

from mobileone.model.block import MobileOneBlock
from mobileone.model.branches import ConvBN, norms_of
from mobileone.variants import BlockSpec


def test_a_branch_is_its_convolution_then_its_batch_norm(randomize):
    branch = randomize(ConvBN(nn.Conv2d(3, 4, 3, bias=False)).double())
    x, norm = torch.randn(2, 3, 6, 6, dtype=torch.float64), branch.bn
    z = F.conv2d(x, branch.conv.weight)
    wanted = F.batch_norm(z, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    assert torch.allclose(branch(x), wanted, rtol=1e-12)


def test_norms_come_in_the_order_convolutions_scale_identity():
    block = MobileOneBlock(BlockSpec(8, 8, num_conv_branches=2))
    wanted = [block.conv_kxk[0].bn, block.conv_kxk[1].bn, block.conv_scale.bn, block.identity]
    assert all(got is norm for got, norm in zip(norms_of(block), wanted, strict=True))
    bare = MobileOneBlock(BlockSpec(8, 8, use_scale=False, use_identity=False))
    assert [*map(id, norms_of(bare))] == [id(bare.conv_kxk[0].bn)]
