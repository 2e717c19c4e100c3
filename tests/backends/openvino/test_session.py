"""OpenVINO on the CPU."""

import numpy as np
import pytest

from mobileone.backends.session import open_session
from mobileone.errors import ArtifactError, ConfigError

pytest.importorskip("openvino", reason="needs mobileone[openvino]")


def test_it_runs_and_says_what_it_is(int8_file):
    session = open_session(int8_file("openvino"), threads=1)
    assert session.runtime.startswith("OpenVINO 20")
    assert session.precision == "int8"
    black = session.run(np.zeros((2, 32, 32, 3), np.uint8))
    assert (black.shape, black.dtype) == ((2, 7), np.float32)
    before = black.copy()
    session.run(np.full((2, 32, 32, 3), 255, np.uint8))
    assert np.array_equal(black, before), "the runtime's own memory would hold the second answer now"


def test_integers_run_as_integers_alone(int8_file):
    with pytest.raises(ConfigError, match="it cannot run in bf16"):
        open_session(int8_file("openvino"), precision="bf16")


def test_a_file_that_is_no_network_is_refused(garbage):
    with pytest.raises(ArtifactError, match=r"OpenVINO cannot load .*garbage\.xml"):
        open_session(garbage("openvino"))
