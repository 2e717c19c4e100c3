"""--device for models and for exported files."""

import pytest

from mobileone.cli.device_option import device_for
from mobileone.errors import ConfigError


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_a_model_runs_where_it_is_told(device):
    assert device_for("mobileone_s0.apple_in1k", device) == device


def test_an_exported_file_runs_on_the_cpu():
    assert device_for("s0.tflite", "auto") == device_for("s0.tflite", "cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"s0\.tflite runs on the CPU; drop --device cuda:0"):
        device_for("s0.tflite", "cuda:0")


def test_an_onnx_file_runs_on_a_gpu_where_that_is_asked_for():
    assert device_for("s0.onnx", "auto") == "cpu"
    assert device_for("s0.onnx", "cuda:1") == "cuda:1"
    assert device_for("s0.onnx", "tensorrt") == "tensorrt"
    with pytest.raises(ConfigError, match=r"s0\.onnx runs on cpu or cuda or tensorrt; got --device mps"):
        device_for("s0.onnx", "mps")
