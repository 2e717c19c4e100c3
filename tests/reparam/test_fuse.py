"""One test for each way in which fusing went wrong elsewhere, and what `reparameterize` promises."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mobileone.errors import ReparameterizeError
from mobileone.model.block import InferenceBlock, MobileOneBlock
from mobileone.model.create import create_model
from mobileone.reparam.fuse import fuse_block, reparameterize
from mobileone.reparam.verify import verify
from mobileone.variants import BlockSpec


class Detector(nn.Module):
    """A network that is not ours, with our blocks inside, one of them in two places."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            MobileOneBlock(BlockSpec(3, 16, 3, 2)), MobileOneBlock(BlockSpec(16, 16, 3, groups=16))
        )
        self.neck = nn.Conv2d(16, 8, 1)
        self.shared = self.backbone[1]

    def forward(self, x):
        x = self.shared(self.backbone(x))
        return {"boxes": self.neck(x), "scores": x.mean((2, 3))}


def test_training_mode_is_refused_and_named(tiny):
    with pytest.raises(ReparameterizeError, match=r"MobileOne in training mode; call model\.eval"):
        reparameterize(create_model(tiny))
    model = create_model(tiny).eval()
    model.stages[1][0].train()
    with pytest.raises(ReparameterizeError, match=r"stages\.1\.0 \(MobileOneBlock\) in training mode"):
        reparameterize(model)
    model.eval()
    model.stages[0][0].conv_scale.bn.train()
    with pytest.raises(
        ReparameterizeError, match=r"stages\.0\.0\.conv_scale\.bn \(BatchNorm2d\) in training"
    ):
        reparameterize(model)


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_identity_kernel_is_right_for_any_groups(randomize, groups):
    block = randomize(MobileOneBlock(BlockSpec(8, 8, 3, groups=groups)).double())
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    verify(block, reparameterize(block), x).require()


def test_a_wrong_identity_kernel_would_be_caught(randomize, monkeypatch):
    def only_right_for_groups_1_or_c(channels, groups, like):
        kernel = torch.zeros(channels, channels // groups, 1, 1, dtype=like.dtype)
        for i in range(channels):
            kernel[i, i % channels // groups] = 1
        return kernel

    monkeypatch.setattr("mobileone.reparam.fuse.identity_pointwise", only_right_for_groups_1_or_c)
    block = randomize(MobileOneBlock(BlockSpec(8, 8, 3, groups=2)).double())
    assert not verify(block, reparameterize(block), torch.randn(2, 8, 5, 5, dtype=torch.float64)).ok


def test_the_fused_model_is_new_and_copies_of_it_run_its_own_weights(tiny, randomize):
    model = randomize(create_model(tiny, num_classes=3))
    x = torch.randn(1, 3, 32, 32)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fused = reparameterize(model)
    twin, pickled = copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))
    with torch.no_grad():
        for p in fused.parameters():
            p.zero_()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    verify(model, twin, x).require()
    verify(model, pickled, x).require()
    assert not any(isinstance(m, MobileOneBlock) for m in fused.modules())


def test_inference_form_pads_like_the_train_form():
    for kernel, dilation in [(3, 1), (5, 1), (3, 2), (1, 1)]:
        spec = BlockSpec(4, 4, kernel, dilation=dilation)
        assert InferenceBlock(spec)(torch.zeros(1, 4, 16, 16)).shape == (1, 4, 16, 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_weights_fold_in_float64(randomize, dtype):
    block = randomize(MobileOneBlock(BlockSpec(16, 16, 3, num_conv_branches=4)).to(dtype))
    exact = reparameterize(copy.deepcopy(block).double())
    fused = reparameterize(block)
    assert fused.reparam_conv.weight.dtype == dtype
    # The one rounding is the last: every weight is the float64 result to the nearest value of the dtype.
    assert torch.equal(fused.reparam_conv.weight, exact.reparam_conv.weight.to(dtype))
    assert torch.equal(fused.reparam_conv.bias, exact.reparam_conv.bias.to(dtype))


def test_the_dtype_asked_for_is_the_dtype_of_the_whole_model(tiny):
    fused = reparameterize(create_model(tiny).eval(), dtype=torch.float64)
    assert {p.dtype for p in fused.parameters()} == {torch.float64}


def test_any_module_with_our_blocks_and_a_block_alone():
    torch.manual_seed(1)
    model = Detector().eval()
    fused = reparameterize(model)
    verify(model, fused, torch.randn(1, 3, 16, 16)).require()
    assert fused.shared is fused.backbone[1]
    assert isinstance(reparameterize(MobileOneBlock(BlockSpec(4, 4)).eval()), InferenceBlock)


def test_nothing_to_fuse_is_refused(tiny):
    with pytest.raises(ReparameterizeError, match="in inference form already"):
        reparameterize(create_model(tiny, form="inference").eval())
    with pytest.raises(ReparameterizeError, match="contains no MobileOneBlock"):
        reparameterize(nn.Linear(2, 2).eval())


def test_weights_that_cannot_be_folded_are_refused_by_name(tiny):
    model = create_model(tiny).eval()
    model.stages[2][1].identity.running_var.fill_(float("nan"))
    with pytest.raises(ReparameterizeError, match=r"stages\.2\.1.*NaN"):
        reparameterize(model)
    block = MobileOneBlock(BlockSpec(4, 4)).eval()
    block.identity = nn.BatchNorm2d(4, track_running_stats=False).eval()
    with pytest.raises(ReparameterizeError, match="no running statistics"):
        fuse_block(block)
    block.identity = nn.GroupNorm(2, 4)
    with pytest.raises(ReparameterizeError, match="identity is a GroupNorm, not a BatchNorm"):
        fuse_block(block)


def test_batch_norm_without_gain_folds(randomize):
    block = MobileOneBlock(BlockSpec(4, 4))
    block.identity = nn.BatchNorm2d(4, affine=False)
    block = randomize(block.double())
    verify(block, reparameterize(block), torch.randn(1, 4, 6, 6, dtype=torch.float64)).require()


@pytest.mark.gpu
def test_folds_on_the_gpu(tiny, randomize):
    model = randomize(create_model(tiny)).cuda()
    fused = reparameterize(model)
    assert {p.device.type for p in fused.parameters()} == {"cuda"}
    verify(model, fused, torch.randn(1, 3, 64, 64, device="cuda"), tolerance=1e-2).require()


def test_what_is_frozen_stays_frozen(tiny):
    model = create_model(tiny).eval().requires_grad_(False)
    model.stages[1].requires_grad_()
    trained = {name for name, p in reparameterize(model).named_parameters() if p.requires_grad}
    units = [f"stages.1.{index}.reparam_conv" for index in range(2)]
    assert trained == {f"{unit}.{part}" for unit in units for part in ("weight", "bias")}
