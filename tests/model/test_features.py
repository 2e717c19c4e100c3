import pytest
import torch

from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.reparam.fuse import reparameterize
from mobileone.reparam.verify import verify

FORMS = ("train", "inference")


@pytest.mark.parametrize("form", FORMS)
def test_features_only_gives_timms_levels(form):
    backbone = create_model("mobileone_s0", features_only=True, form=form, out_indices=(1, 3, -1)).eval()
    maps = backbone(torch.randn(1, 3, 64, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [(48, 16, 16), (256, 4, 4), (1024, 2, 2)]
    assert backbone.feature_info.channels() == [48, 256, 1024]
    assert backbone.feature_info.reduction() == [4, 16, 32]
    assert backbone.feature_info.module_name() == ["stages.0", "stages.2", "stages.3"]


def test_features_are_the_classifiers_own(tiny):
    model = create_model(tiny).eval()
    backbone = create_model(tiny, features_only=True).eval()
    result = backbone.load_state_dict(model.state_dict(), strict=False)
    assert (result.missing_keys, result.unexpected_keys) == ([], ["head.fc.weight", "head.fc.bias"])
    x = torch.randn(1, 3, 64, 64)
    maps = backbone(x)
    assert len(maps) == 5
    assert torch.equal(maps[-1], model.forward_features(x))


def test_levels_behind_the_last_one_are_not_built(tiny):
    assert len(create_model(tiny, features_only=True, out_indices=(0, 2)).stages) == 2
    assert len(create_model(tiny, features_only=True, out_indices=(0,)).stages) == 0


def test_output_stride_keeps_weights_and_resolution(tiny):
    dense = create_model(tiny, features_only=True, output_stride=8).eval()
    dense.load_state_dict(create_model(tiny, features_only=True).state_dict())
    assert [m.shape[-1] for m in dense(torch.randn(1, 3, 64, 64))] == [32, 16, 8, 8, 8]
    assert dense.feature_info.reduction() == [2, 4, 8, 8, 8]
    verify(dense, reparameterize(dense), torch.randn(1, 3, 64, 64)).require()


@pytest.mark.parametrize("indices", [(5,), (), (1, 1), (3, 1), (-6,)])
def test_impossible_out_indices_are_refused(tiny, indices):
    with pytest.raises(ConfigError, match="out_indices"):
        create_model(tiny, features_only=True, out_indices=indices)


def test_an_input_spec_is_for_the_networks_channels(tiny):
    with pytest.raises(ConfigError, match="input_spec is for 3 channels, in_chans=1"):
        create_model(tiny, features_only=True, in_chans=1, input_spec=InputSpec())
