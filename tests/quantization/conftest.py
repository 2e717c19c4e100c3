"""A small network with attention, calibrated once."""

import pytest
import torch

from mobileone.backends.fused_layers import layers_of
from mobileone.exporting.parity import seeded_pictures
from mobileone.model.create import create_model
from mobileone.quantization.calibrate import calibrate
from mobileone.variants import Variant

SIZE = 32


@pytest.fixture(scope="session")
def small():
    """The tiny network at 32 px in eval mode, with biases; channels differ in range tenfold."""
    torch.manual_seed(0)
    variant = Variant("tiny", (16, 16, 16, 32), depths=(1, 1, 2, 1), se_blocks=(0, 0, 1, 1))
    model = create_model(variant, num_classes=7, form="inference").eval()
    model.set_input_size(SIZE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(std=0.1)
            if "reparam_conv.weight" in name:
                spread = torch.logspace(-0.5, 0.5, len(parameter))
                parameter.mul_((spread / spread.square().mean().sqrt())[:, None, None, None])
    return model


@pytest.fixture(scope="session")
def pictures(small):
    return seeded_pictures(small.input_spec, number=16)


@pytest.fixture(scope="session")
def quantized(small, pictures):
    return calibrate(layers_of(small), pictures)
