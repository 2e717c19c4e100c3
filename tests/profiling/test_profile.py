"""Networks and files profiled, alone and in turns, and what is refused."""

import pytest
import torch
from torch import nn

import mobileone
from mobileone.errors import ConfigError, MissingExtraError, ProfileError
from mobileone.profiling import torch_clock
from mobileone.profiling.clock import CHUNK_RUNS
from mobileone.profiling.profile import ProfileSubject, compare
from mobileone.profiling.profile_report import profile_report

from .conftest import NEEDS_PROFILE, X, conv_file


def test_every_layer_is_a_module_of_the_network(models, onnx_profiles):
    names = {name for name, _ in models["train"].named_modules() if name}
    by_torch = mobileone.profile(models["train"], X, runs=1, clock="torch", threads=1)
    for profile in (onnx_profiles["train"], by_torch):
        layers = {row.name for row in profile.rows("layer")}
        assert layers <= names
        assert "stages.2.1.conv_kxk.0.conv" in layers


def test_comparison_measures_in_turns(monkeypatch):
    turns = []
    real = torch_clock.TorchClock.measure

    def measure(self, runs):
        turns.append((id(self), runs))
        real(self, runs)

    monkeypatch.setattr(torch_clock.TorchClock, "measure", measure)
    model = nn.Conv2d(3, 4, 1).eval()
    result = compare(
        ProfileSubject(model, X, "a"),
        ProfileSubject(model, X, "b"),
        clock="torch",
        threads=1,
        runs=CHUNK_RUNS + 2,
    )
    first, second = turns[0][0], turns[1][0]
    assert turns == [(first, CHUNK_RUNS), (second, CHUNK_RUNS), (first, 2), (second, 2)]
    assert (result.first.name, result.second.name) == ("a", "b")
    assert result.to_dict()["speedup"] == result.first.latency_ms / result.second.latency_ms


class Unequal(nn.Module):
    """Runs another operator every time."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        for _ in range(self.calls):
            x = x + 1
        return x


class Untraceable(nn.Module):
    def forward(self, x):
        return x.cpu().numpy().tolist() and x


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((nn.ReLU(), X), {}, ProfileError, "training mode; call model.eval"),
        ((nn.ReLU().eval(),), {}, ConfigError, "needs its input"),
        ((nn.ReLU().eval(), X), {"runs": 0}, ConfigError, "runs must be at least 1, got 0"),
        ((nn.ReLU().eval(), X), {"threads": 0}, ConfigError, "threads must be at least 1"),
        ((nn.ReLU().eval(), X), {"clock": "sundial"}, ConfigError, "clock must be one of"),
        ((nn.ReLU().eval(), X), {"convention": "mine"}, ConfigError, "convention must be one of"),
        ((nn.ReLU().eval(), X), {"clock": "torch", "optimized": True}, ConfigError, "optimized is ONNX"),
        ((nn.Linear(4, 4).eval(), X), {"clock": "torch"}, ProfileError, "Linear does not run on an input of"),
        ((nn.Linear(4, 4).eval(), X), {}, ProfileError, "cannot export Linear to ONNX"),
        ((Untraceable().eval(), X), {}, ProfileError, "clock torch"),
        ((Unequal().eval(), X), {"clock": "torch"}, ProfileError, "cannot be timed operator by operator"),
        (("nowhere.onnx",), {}, ProfileError, "nowhere.onnx is not there"),
        (("nowhere.onnx",), {"clock": "torch"}, ConfigError, "the torch clock takes modules"),
        ((nn.ReLU().eval(), X.to("meta")), {"clock": "onnxruntime"}, ConfigError, "runs on the CPU only"),
    ],
)
def test_refusals(arguments, options, error, message):
    if options.get("clock") != "torch":
        pytest.importorskip("onnxruntime", reason=NEEDS_PROFILE)
    with pytest.raises(error, match=message):
        mobileone.profile(*arguments, **{"runs": 1, **options})


def test_a_missing_runtime_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"mobileone\[profile\]"):
        mobileone.profile(nn.ReLU().eval(), X)


def test_a_file_is_profiled_as_it_is(tmp_path):
    profile = mobileone.profile(conv_file(tmp_path / "net.onnx"), runs=2, convention="macs")
    assert profile.name == "net.onnx"
    assert profile.num_parameters == 4 * 27 + 4
    assert profile.macs == 4 * 27 * 36
    assert [row.name for row in profile.rows("layer")] == ["body.0", "Softsign"]
    assert profile.uncounted == ("Softsign",)
    assert "No cost rule in macs, time only: Softsign" in profile_report(profile)
    assert "Softsign" in profile_report(profile).split("MAC per")[0], "an uncounted operator keeps its time"


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_wrapped_modules_are_profiled_without_the_wrapper():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()
    for wrap in (nn.DataParallel, torch.compile):
        subject = ProfileSubject(wrap(module), torch.zeros(1, 3, 8, 8))
        assert (subject.model, subject.title) == (module, "Sequential")
