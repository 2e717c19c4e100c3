"""A new backend is its folder and one line of the table; nothing else needs to know."""

import sys

import numpy as np
import pytest

import mobileone.backends
from mobileone.backends.artifact import Artifact
from mobileone.backends.table import BACKENDS, Backend
from mobileone.benchmarking.candidate_builder import choose_backends
from mobileone.cli.main import main
from mobileone.errors import ArtifactError, ConfigError
from mobileone.exporting.export import export
from mobileone.exporting.parity import seeded_pictures
from mobileone.inference.predictor import Predictor
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.quantization.quantize import quantize
from mobileone.quantization.simulate import simulate

WRITER = """
import torch

from mobileone.backends.export_options import tensor_spec
from mobileone.backends.traceable import TraceableNetwork, example

def check(options):
    pass

def tensor(model, options):
    return tensor_spec(model, options, layout="NCHW", uint8=False)

def write(model, path, options):
    module = TraceableNetwork(model, raw_input=options.raw_input, half=False)
    torch.jit.trace(module, example(tensor(model, options))).save(path)
    return [path]

def versions():
    return {"toy": "7"}
"""
WRITER_INT8 = """
import pickle

def check():
    pass

def write_int8(quantized, path, *, batch):
    path.write_bytes(pickle.dumps(quantized))
    return [path]

def versions():
    return {"toy": "7"}
"""
SESSION = """
import pickle

class ToySession:
    runtime = "Toy 7"

    def __init__(self, path, manifest, *, threads, precision):
        import torch

        self.precision = precision
        if precision == "int8":
            self.run = self.run_int8
            self.quantized = pickle.loads(path.read_bytes())
        else:
            self.module = torch.jit.load(str(path))

    def run(self, batch):
        import torch

        return self.module(torch.from_numpy(batch)).detach().numpy()

    def run_int8(self, batch):
        import torch

        from mobileone.quantization.simulate import simulate

        return simulate(self.quantized, torch.from_numpy(batch).permute(0, 3, 1, 2)).numpy()

open = ToySession
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The backend, gone again after the test."""
    folder = tmp_path / "backends" / "toy"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "writer.py").write_text(WRITER)
    (folder / "writer_int8.py").write_text(WRITER_INT8)
    (folder / "session.py").write_text(SESSION)
    path = [*mobileone.backends.__path__, str(folder.parent)]
    monkeypatch.setattr(mobileone.backends, "__path__", path)
    line = Backend(
        name="toy",
        suffix=".toy",
        runtime="Toy",
        extra=None,
        writes=("fp32", "int8"),
        executes=("fp32", "int8"),
        int8_head="weights",
    )
    monkeypatch.setitem(BACKENDS, "toy", line)
    yield line
    for name in [name for name in sys.modules if name.startswith("mobileone.backends.toy")]:
        del sys.modules[name]
    vars(mobileone.backends).pop("toy", None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_toy_backend_is_exported_loaded_and_predicted_with(toy, network, tmp_path, capsys):
    done = export(network, tmp_path / "out" / "net.toy", format="toy", raw_input=True)
    assert done.manifest.parity.runtime == "Toy 7"
    assert done.manifest.versions["toy"] == "7"
    pixels = seeded_pictures(network.input_spec, number=3, seed=1)
    expected = TorchClassifier(network).logits(pixels)
    got = Artifact(done.path).logits(pixels)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * expected.abs().max())
    seen, wanted = (Predictor(each)(pixels[0], topk=7) for each in (Artifact(done.path), network))
    assert [score.index for score in seen.scores] == [score.index for score in wanted.scores]

    (kind,), notes = choose_backends(["toy"])
    assert (kind, notes) == (toy, [])
    assert main(["export", "no_such_model", "-o", str(tmp_path / "a.toy")]) == 1
    assert "no model" in capsys.readouterr().err  # the suffix told the format
    with pytest.raises(ConfigError, match=r"one of .*torch, toy, got 'lego'"):
        export(network, tmp_path / "net.lego", format="lego")
    with pytest.raises(ArtifactError, match=r"none of .*\.pt2, \.toy"):
        Artifact(tmp_path / "net.lego")


def test_a_toy_backend_is_quantized_for(toy, small_network, quantized, small_pictures, tmp_path):
    done = quantize(small_network, tmp_path / "net.toy", images=small_pictures, format="toy")
    artifact = Artifact(done.path)
    assert artifact.session.precision == "int8"
    wanted = simulate(quantized, small_pictures)
    np.testing.assert_allclose(artifact.logits(small_pictures), wanted, rtol=0, atol=1e-4)


def test_without_its_line_nothing_knows_it(network, tmp_path):
    """The guard of the test above, and proof that it cleaned up."""
    assert "toy" not in BACKENDS
    with pytest.raises(ConfigError, match="got 'toy'"):
        export(network, tmp_path / "net.toy", format="toy")
