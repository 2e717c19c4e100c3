"""A network is held against one built afresh from what it says of itself."""

import copy

import pytest
import torch
from torch import nn

from mobileone.errors import ExportError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.sync_batch_norm import convert_sync_batch_norm
from mobileone.reparam.as_built import find_alteration, require_as_built
from mobileone.reparam.fuse import reparameterize
from mobileone.variants import VARIANTS


@pytest.mark.parametrize("form", ["train", "inference"])
@pytest.mark.parametrize("options", [{}, {"num_classes": 0}, {"in_chans": 1}, {"output_stride": 8}])
def test_what_was_built_is_as_built(tiny, form, options):
    model = create_model(tiny, form=form, **options)
    assert find_alteration(model) is None
    model = model.half().to(memory_format=torch.channels_last).eval().requires_grad_(False)
    assert find_alteration(copy.deepcopy(model)) is None


def test_what_training_and_fusing_make_of_a_network_is_as_built(tiny):
    model = convert_sync_batch_norm(create_model(tiny))
    model.stem.conv_scale.bn.momentum = 0.01
    model.stem.branch_mode = "online"
    model.set_input_size(64)
    model.reset_classifier(3, class_names="abc")
    model.get_classifier().register_full_backward_hook(lambda *_: None)
    assert find_alteration(model) is None
    assert find_alteration(reparameterize(model.eval())) is None
    assert all(find_alteration(create_model(name)) is None for name in VARIANTS)


def test_looking_draws_no_random_numbers(tiny):
    model, before = create_model(tiny), torch.get_rng_state()
    find_alteration(model)
    assert torch.equal(torch.get_rng_state(), before)


def replace_spec(model):
    model.input_spec = InputSpec.for_channels(1)


def lose_a_stage(model):
    del model.stages[3]


def add_a_module(model):
    model.neck = nn.Conv2d(2, 2, 1)


def add_a_tensor(model):
    model.stages[1].register_buffer("extra", torch.zeros(2))


def widen(model):
    model.stem.conv_scale.bn.weight = nn.Parameter(torch.zeros(7))


def fuse_the_stem(model):
    model.stem = reparameterize(model.stem.eval())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replace_spec, "contradicts itself: input_spec is for 1 channels, in_chans=3"),
        (lose_a_stage, "stages.3 is missing"),
        (add_a_module, "neck, a Conv2d, is no part of it"),
        (add_a_tensor, "stages.1.extra, a tensor, is no part of it"),
        (widen, r"stem.conv_scale.bn.weight has shape \(7,\), not \(16,\)"),
        (fuse_the_stem, "stem is a InferenceBlock, not a MobileOneBlock"),
        (lambda model: setattr(model.stem, "act", nn.SiLU()), "stem.act is a SiLU, not a ReLU"),
        (
            lambda model: setattr(model.stages[0][1].conv_kxk[0].bn, "eps", 1e-3),
            "bn has eps=0.001, not 1e-05",
        ),
        (lambda model: model.register_forward_hook(lambda *_: None), "it has a hook"),
        (
            lambda model: setattr(model.head, "fc", nn.Sequential(nn.Linear(32, 2))),
            "head.fc is a Sequential, not a Linear",
        ),
    ],
)
def test_the_first_alteration_is_named(tiny, change, said):
    model = create_model(tiny, num_classes=4)
    change(model)
    with pytest.raises(
        ExportError, match=f"cannot frame this tiny, part of it would be lost: .*{said}; undo it"
    ):
        require_as_built(model, doing="frame", error=ExportError, instead="undo it")
