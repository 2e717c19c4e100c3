"""Float .tflite files compute what PyTorch computes."""

import dataclasses

import numpy as np
import pytest
import torch

from mobileone.backends.export_options import ExportOptions
from mobileone.backends.fused_layers import layers_of
from mobileone.backends.litert.writer import litert_model
from mobileone.errors import ConfigError
from mobileone.model.create import create_model


@pytest.fixture
def make(tiny):
    def build(size, **options):
        model = create_model(tiny, num_classes=5, form="inference", **options).eval()
        for parameter in model.parameters():
            if parameter.ndim == 1:  # a bias of zero hides what is wrong with it
                torch.nn.init.normal_(parameter, std=0.5)
        model.set_input_size(size)
        return model

    return build


@pytest.mark.parametrize("size", [32, 33])  # a stride of 2 ends at the border, or not
@pytest.mark.parametrize("raw_input", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_same_logits_as_pytorch(make, execute, size, raw_input, batch):
    model = make(size)
    pixels = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.input_spec.mean, model.input_spec.std))
    normalized = (pixels.double() / 255 - mean) / std
    with torch.no_grad():
        wanted = model.double()(normalized).numpy()
    content = litert_model(
        layers_of(model), ExportOptions(raw_input=raw_input, batch=1 if batch == 1 else None)
    )
    images = (pixels if raw_input else normalized.float()).permute(0, 2, 3, 1).contiguous().numpy()
    np.testing.assert_allclose(execute(content, images), wanted, rtol=1e-5, atol=1e-5)


def test_dilation_and_no_classifier(make, execute):
    model = make(48, output_stride=8)
    model.reset_classifier(0)
    x = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        wanted = model(x).numpy()
    images = x.permute(0, 2, 3, 1).contiguous().numpy()
    np.testing.assert_allclose(
        execute(litert_model(layers_of(model), ExportOptions()), images), wanted, rtol=1e-4, atol=1e-5
    )


@pytest.mark.usefixtures("execute")
def test_groups_that_no_runtime_takes_are_refused(make):
    layers = layers_of(make(32))
    odd = dataclasses.replace(layers.convs[1], groups=4, weight=np.zeros((16, 4, 3, 3), np.float32))
    grouped = dataclasses.replace(layers, convs=(layers.convs[0], odd, *layers.convs[2:]))
    with pytest.raises(ConfigError, match=r"stages\.0\.0: LiteRT takes groups"):
        litert_model(grouped, ExportOptions())
