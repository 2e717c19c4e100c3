"""Networks as plain data."""

import pytest
import torch

from mobileone.backends.fused_layers import layers_of
from mobileone.errors import ConfigError
from mobileone.model.create import create_model
from mobileone.profiling.cost import network_cost
from mobileone.variants import VARIANTS


@pytest.mark.parametrize("name", ["mobileone_s0", "mobileone_s4"])
def test_every_weight_is_there(name):
    layers = layers_of(create_model(name, form="inference").eval())
    cost = network_cost(VARIANTS[name])
    assert layers.num_parameters == cost.params


def test_train_form_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"train form; fuse it first"):
        layers_of(create_model(tiny))


def test_nan_is_named(tiny):
    model = create_model(tiny, form="inference")
    with torch.no_grad():
        model.stages[1][0].reparam_conv.bias[3] = torch.nan
    with pytest.raises(ConfigError, match=r"stages\.1\.0 has NaN"):
        layers_of(model)


def test_an_input_below_the_kernel_is_refused(tiny):
    layers = layers_of(create_model(tiny, form="inference"))
    (conv,) = layers.convs[:1]
    assert conv.output_size((33, 32)) == (17, 16)
    with pytest.raises(ConfigError, match="stem: an input of 0×0"):
        conv.output_size((0, 0))
