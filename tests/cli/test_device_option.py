"""--device for models and for exported files."""

import pytest

from mobileone.cli.device_option import device_for
from mobileone.errors import ConfigError


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_a_model_runs_where_it_is_told(device):
    assert device_for("mobileone_s0.apple_in1k", device) == device


def test_an_exported_file_runs_on_the_cpu():
    assert device_for("s0.onnx", "auto") == device_for("s0.onnx", "cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"s0\.onnx runs on the CPU; drop --device cuda:0"):
        device_for("s0.onnx", "cuda:0")
