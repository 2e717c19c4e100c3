"""Whole runs of a probe: what is in its folder, that it goes on, and what it refuses."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.kill_resume import differing_bits

from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import BadImageError, ConfigError, PreemptedError, TrainingError
from mobileone.evaluation.evaluate import evaluate
from mobileone.exporting.export import export
from mobileone.inference.torch_classifier import TorchClassifier
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.training.config.probe import Probe
from mobileone.training.config.resources import Compute, Loading
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.run.plan import plan
from mobileone.training.run.run_report import write_report
from mobileone.variants import Variant


@pytest.fixture
def config(tiny: Variant, image_folder: Path, tmp_path: Path) -> TrainConfig:
    """A probe of a network for other classes, in inference form, its weights at random."""
    torch.manual_seed(3)
    start = create_model(tiny, num_classes=5, form="inference")
    path = save_model(start, tmp_path / "start.safetensors")
    return TrainConfig(
        model=None,
        init=str(path),
        data=str(image_folder),
        epochs=1,
        batch_size=7,
        input_spec=InputSpec(size=32, crop=1.0),
        probe=Probe(views="plain", strengths=(1.0, 0.1, 0.01)),
        compute=Compute(device="cpu"),
        loading=Loading(num_workers=0),
    )


def test_a_probe_leaves_a_run_folder_like_any_other(config: TrainConfig, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    result = fit(config, run_dir=run_dir, progress=False)
    assert {"config.json", "metrics.csv", "train.log", "curves.png", "last.safetensors"} <= {
        path.name for path in run_dir.iterdir()
    }
    (record,) = result.records
    assert (result.best_epoch, result.last.num_images, record.step) == (1, 8, 1)
    assert record.weight_decay in config.probe.strengths
    log = (run_dir / "train.log").read_text()
    assert "a linear probe of its 16 features at 32 px" in log
    assert f"penalty {record.weight_decay:g}: held-out loss" in log
    assert log.count("chosen") == 1
    best = load_model(run_dir / "best.safetensors")
    assert best.class_names == ("dark", "light")
    assert best.input_spec.crop == 1.0
    assert evaluate(best, config.data, progress=False).acc1 == result.best_value
    assert write_report(run_dir, progress=False).page.exists()
    assert export(best, tmp_path / "net.pt2", format="torch").path.exists()


def test_only_the_head_is_new(config: TrainConfig, tmp_path: Path) -> None:
    fit(config, run_dir=tmp_path / "run", progress=False)
    before = load_model(config.init)
    after = load_model(tmp_path / "run" / "last.safetensors", form="inference")
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    features = [TorchClassifier(network.eval()).embeddings(pixels) for network in (before, after)]
    torch.testing.assert_close(*features, rtol=1e-4, atol=1e-5)


def test_the_same_run_gives_the_same_bits_and_mirror_images_count(
    config: TrainConfig, tmp_path: Path
) -> None:
    heads = []
    for name, given in (
        ("one", config),
        ("two", config),
        ("mirrored", config.with_values({"probe.views": "mirrored"})),
    ):
        fit(given, run_dir=tmp_path / name, progress=False)
        heads.append(load_model(tmp_path / name / "last.safetensors").get_classifier().weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_probe_that_was_stopped_begins_anew_and_a_finished_one_is_not_made_again(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(config, run_dir=tmp_path / "whole", progress=False)
    real = TorchClassifier.embeddings

    def stopped(self: TorchClassifier, pixels: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(self, pixels)

    with monkeypatch.context() as patched:
        patched.setattr(TorchClassifier, "embeddings", stopped)
        with pytest.raises(PreemptedError, match="stopped by SIGTERM"):
            fit(config, run_dir=tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match="holds a run already"):
        fit(config, run_dir=tmp_path / "run", progress=False)
    resumed = fit(None, run_dir=tmp_path / "run", resume=True, progress=False)
    heads = [load_model(tmp_path / name / "last.safetensors").state_dict() for name in ("whole", "run")]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert resumed.best_value == whole.best_value

    def refused(self: TorchClassifier, pixels: torch.Tensor) -> torch.Tensor:
        raise AssertionError("features of a finished run are not asked for")

    monkeypatch.setattr(TorchClassifier, "embeddings", refused)
    again = fit(None, run_dir=tmp_path / "run", resume=True, progress=False)
    assert again.records == resumed.records


def test_an_unreadable_image_stops_it_or_is_left_out(config: TrainConfig, tmp_path: Path) -> None:
    bad = Path(config.data) / "train" / "dark" / "03.jpg"
    bad.write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"03\.jpg"):
        fit(config, run_dir=tmp_path / "stopped", progress=False)
    tolerant = replace(config, loading=Loading(num_workers=0, on_bad_image="skip"))
    result = fit(tolerant, run_dir=tmp_path / "run", progress=False)
    assert result.skipped == (str(bad),)


def test_features_that_are_not_finite_are_said(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overflowed = torch.full((1, 16), float("inf"))
    monkeypatch.setattr(TorchClassifier, "embeddings", lambda self, pixels: overflowed)
    with pytest.raises(TrainingError, match="a feature is NaN or infinite; the weights of init"):
        fit(config, run_dir=tmp_path / "run", progress=False)


def test_there_are_no_teachers_and_no_plans(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a probe has no teacher"):
        fit(config, run_dir=tmp_path / "run", teacher=torch.nn.Identity(), progress=False)
    with pytest.raises(ConfigError, match="a probe has no steps to plan"):
        plan(config)


@pytest.fixture
def headed(config: TrainConfig) -> TrainConfig:
    """The head first, then everything, by steps."""
    return config.with_values(
        {"probe.then_train": True, "epochs": 2, "batch_size": 8, "optim.base_lr": 0.01, "mix.mixup": 0.2}
    )


def test_training_starts_from_the_fitted_head_and_goes_on_to_the_bit(
    config: TrainConfig,
    headed: TrainConfig,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
) -> None:
    fit(config, run_dir=tmp_path / "probe", progress=False)
    still = headed.with_values(
        {"optim.base_lr": 1e-30, "optim.min_lr": 0.0, "objective.label_smoothing": 0.1}
    )
    fit(still, run_dir=tmp_path / "still", progress=False)
    probe, start = (
        load_model(tmp_path / name / "last.safetensors").get_classifier().weight
        for name in ("probe", "still")
    )
    torch.testing.assert_close(start, probe, rtol=1e-4, atol=1e-6)  # the average, too
    assert "the head was fitted first" in (tmp_path / "still" / "train.log").read_text()
    fit(headed, run_dir=tmp_path / "whole", progress=False)
    at_step(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(PreemptedError):
        fit(headed, run_dir=tmp_path / "parts", progress=False)
    fit(None, run_dir=tmp_path / "parts", resume=True, progress=False)
    assert differing_bits(tmp_path / "whole", tmp_path / "parts")[0] == {}
    assert (tmp_path / "parts" / "train.log").read_text().count("the head was fitted first") == 1


@pytest.mark.slow
def test_two_ranks_share_the_features_and_find_what_one_does(
    config: TrainConfig, fit_on_two_ranks: Callable[[TrainConfig], Path], tmp_path: Path
) -> None:
    fit(config, run_dir=tmp_path / "one", progress=False)
    fit_on_two_ranks(config)
    heads = [load_model(tmp_path / name / "last.safetensors").get_classifier() for name in ("one", "two")]
    torch.testing.assert_close(heads[0].weight, heads[1].weight, rtol=1e-3, atol=1e-4)
