"""Scales that XNNPACK cannot compute with are refused, or do not matter and are brought into its range."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.backends.table import BACKENDS
from mobileone.backends.writer import find_int8_writer
from mobileone.backends.xnnpack_scales import LEAST, with_xnnpack_scales
from mobileone.errors import ExportError
from mobileone.quantization.quantize import quantize
from mobileone.quantization.simulate import simulate

SHARED = ("litert", "executorch")


def scaled(quantized, channel, factor, conv=1):
    """The network with the scale of one channel of one convolution multiplied."""
    name = quantized.layers.convs[conv].name
    weight = quantized.weights[name]
    scale = weight.scale.copy()
    scale[channel] *= factor
    return replace(quantized, weights={**quantized.weights, name: replace(weight, scale=scale)})


def test_ordinary_scales_stay_as_they_are(quantized):
    kept = with_xnnpack_scales(quantized, format="litert")
    assert kept.weights == quantized.weights  # the same objects


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("factor", [1e9, np.inf, np.nan])
def test_scales_above_the_range_are_refused_before_a_file_is_there(
    needs_backend, quantized, tmp_path, name, factor
):
    needs_backend(name)
    path = tmp_path / f"net{BACKENDS[name].suffix}"
    conv = quantized.layers.convs[1].name
    with pytest.raises(ExportError, match=rf"^{name} cannot hold {conv} in int8: .* channel 5 .* than 256; "):
        find_int8_writer(name).write_int8(scaled(quantized, 5, factor), path, batch=1)
    assert not path.exists()


def test_faint_channels_give_the_same_zeros(quantized, other_pictures):
    faint = scaled(quantized, 5, 1e-12)
    kept = with_xnnpack_scales(faint, format="litert")
    name = quantized.layers.convs[1].name
    assert kept.weights[name].scale.min() > LEAST
    assert not kept.weights[name].values[5].any()
    assert torch.equal(simulate(kept, other_pictures), simulate(faint, other_pictures))


def test_a_network_with_a_dead_channel_runs_as_simulated(
    needs_backend, small_network, small_pictures, tmp_path
):
    """Its weights and bias are zero, which calibration gives a scale far below the range."""
    needs_backend("litert")
    network = copy.deepcopy(small_network)
    with torch.no_grad():
        for parameter in network.stem.reparam_conv.parameters():
            parameter[3] = 0
    done = quantize(network, tmp_path / "net.tflite", images=small_pictures, format="litert")
    assert Artifact(done.path, threads=1).logits(small_pictures).isfinite().all()
