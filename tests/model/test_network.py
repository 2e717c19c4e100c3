import copy

import pytest
import torch
from torch import nn

from mobileone.decision import Decision
from mobileone.errors import ConfigError
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.network import ClassifierHead, FeatureInfo, MobileOne


def test_reset_classifier(tiny):
    model = create_model(tiny, num_classes=3).eval().double()
    model.reset_classifier(5, class_names=list("abcde"))
    out = model(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    assert (out.shape, out.dtype, model.class_names) == ((1, 5), torch.float64, tuple("abcde"))
    model.reset_classifier(0)
    assert model(torch.zeros(1, 3, 32, 32, dtype=torch.float64)).shape == (1, 32)
    with pytest.raises(ConfigError, match="2 class names given for 3"):
        model.reset_classifier(3, class_names=["a", "b"])


@pytest.mark.parametrize("wrong", ["3", 2.5, -1])
def test_no_count_of_classes_is_refused(tiny, wrong):
    with pytest.raises(ConfigError, match="num_classes must be"):
        MobileOne(tiny, num_classes=wrong)


def test_classes_follow_a_head_put_in_by_hand(tiny):
    model = create_model(tiny, num_classes=3, class_names="abc")
    before = model.head.fc
    model.head.fc = nn.Linear(32, 2)
    assert (model.num_classes, model.class_names) == (2, None)
    model.class_names = ["cat", "dog"]
    assert model.class_names == ("cat", "dog")
    with pytest.raises(ConfigError, match="3 class names given for 2 classes"):
        model.class_names = "abc"
    model.head.fc = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4))
    assert (model.num_classes, model.class_names) == (4, None)
    model.num_classes = 4  # what others' training scripts do
    with pytest.raises(ConfigError, match=r"what the head gives, 4, .* set to 5; call reset_classifier\(5\)"):
        model.num_classes = 5
    model.head.fc = nn.Identity()
    assert model.num_classes == 0
    model.head.fc = before
    model.class_names = None
    assert (model.num_classes, model.class_names) == (3, None)


def test_the_head_pools_then_multiplies():
    head, x = ClassifierHead(4, 3).double(), torch.randn(2, 4, 5, 5, dtype=torch.float64)
    pooled = x.mean((2, 3))
    assert torch.allclose(head(x), pooled @ head.fc.weight.T + head.fc.bias)
    assert torch.equal(head(x, pre_logits=True), pooled)
    assert torch.equal(ClassifierHead(4, 0)(x), pooled)


def test_feature_info_picks_levels():
    info = FeatureInfo(
        [{"num_chs": 8 * 2**i, "reduction": 2**i, "module": f"m{i}"} for i in range(3)], (0, 2)
    )
    assert (info.channels(), info.reduction(), info.module_name()) == ([8, 32], [1, 4], ["m0", "m2"])
    assert (len(info), info[1]["num_chs"]) == (3, 16)


def test_form_is_train_while_any_unit_has_branches(tiny):
    assert MobileOne(tiny).form == "train"
    fused = MobileOne(tiny, form="inference")
    assert fused.form == "inference"
    fused.stages[0][0] = MobileOne(tiny).stages[0][0]
    assert fused.form == "train"


def test_an_input_spec_of_other_channels_is_refused(tiny):
    with pytest.raises(ConfigError, match="input_spec is for 1 channels, in_chans=3"):
        MobileOne(tiny, input_spec=InputSpec.for_channels(1))


def test_a_decision_belongs_to_the_head_and_the_pre_processing(network):
    network.decision = decision = Decision(thresholds=(0.5,) * 7)
    assert copy.deepcopy(network).decision == decision
    size = network.input_spec.size
    network.set_input_size(64)
    assert network.decision is None
    network.set_input_size(size)
    assert network.decision == decision
    network.reset_classifier(7)
    assert network.decision is None
    with pytest.raises(ConfigError, match="2 thresholds does not fit 7 classes"):
        network.decision = Decision(thresholds=(0.5, 0.5))
