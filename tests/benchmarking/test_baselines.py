"""PyTorch itself as a candidate."""

import numpy as np
import pytest
import torch

from mobileone.benchmarking.baselines import BASELINES, open_baseline
from mobileone.checkpoint.store import save_model
from mobileone.reparam.expand import expand


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Compiled: as slow to start as its name says; a whole benchmark runs it (tests/cli/test_bench.py).
@pytest.mark.parametrize("name", [name for name, (_, _, compiled) in BASELINES.items() if not compiled])
def test_each_gives_the_networks_logits(model, tmp_path, name):
    form = BASELINES[name][0]
    path = save_model(model if form == "inference" else expand(model), tmp_path / "m.safetensors")
    session = open_baseline(str(path), name=name, threads=1)
    batch = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(session.run(batch), wanted, rtol=1e-4, atol=1e-5)
    assert (session.precision, session.runtime) == ("fp32", f"PyTorch {torch.__version__}")
    assert torch.get_num_threads() == 1


def test_channels_last_weights_are_laid_out_so(model, tmp_path):
    path = save_model(model, tmp_path / "m.safetensors")
    session = open_baseline(str(path), name="PyTorch fused, channels_last", threads=1)
    weight = next(p for p in session.model.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
