"""Programs of torch.export, run by PyTorch."""

import numpy as np
import pytest
import torch

from mobileone.backends.session import open_session
from mobileone.errors import ArtifactError, ConfigError
from mobileone.exporting.export import export


def test_it_computes_in_what_the_program_says(network, tmp_path):
    done = export(network, tmp_path / "net.pt2", format="torch", half=True)
    session = open_session(done.path, threads=1)
    assert (session.runtime, session.precision) == (f"PyTorch {torch.__version__}", "fp16")
    logits = session.run(np.ones((1, 3, 32, 32), np.float32))
    assert (logits.shape, logits.dtype) == ((1, 7), np.float32)
    with pytest.raises(ConfigError, match="computes in fp16, not in fp32; export it so"):
        open_session(done.path, precision="fp32")


def test_a_file_that_is_no_network_is_refused(garbage):
    with pytest.raises(ArtifactError, match=r"PyTorch cannot load .*garbage\.pt2"):
        open_session(garbage("torch"))
