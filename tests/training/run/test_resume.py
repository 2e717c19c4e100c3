"""Going on where a run stopped: the same bits, in the middle of an epoch, after signals and real kills."""

import dataclasses
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmarks.kill_resume import (
    Killer,
    configuration,
    contents,
    differing_bits,
    finish,
    killed_run,
    measure,
    start,
)

from mobileone.checkpoint.rotation import Rotation
from mobileone.errors import BadImageError, ConfigError, PreemptedError, TrainingError
from mobileone.training.config.augmentation import Augment, Phase
from mobileone.training.config.objective import Mix
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run import loop as loop_module
from mobileone.training.run import trainer as trainer_module
from mobileone.training.run.fit import fit
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.trainer import Trainer

AtStep = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    """Three epochs of three steps, with everything that has state."""
    return config.with_values(
        {
            "epochs": 3,
            "optim.warmup_epochs": 1,
            "progressive": (Phase(until=0.4, size=24, strength=0.5),),
            "augment": Augment(policy="rand", erasing=0.5),
            "mix": Mix(mixup=0.2, cutmix=1.0),
            "objective.loss": "bce",
            "objective.class_weights": "balanced",
            "optim.clip_norm": 5.0,
            "compute.accumulate": 2,
            "saving.checkpoint_every": "1steps",
        }
    )


def stop_at(at_step: AtStep, number: int, config: TrainConfig, run_dir: Path, **options: object) -> None:
    at_step(number, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(PreemptedError, match="stopped by SIGTERM and saved"):
        fit(config, run_dir=run_dir, progress=False, **options)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("steps", [(4, 1, 2), pytest.param((1,), marks=SLOW), pytest.param((8,), marks=SLOW)])
def test_a_run_that_was_told_to_stop_resumes_bit_for_bit(
    config: TrainConfig, tmp_path: Path, at_step: AtStep, steps: tuple[int, ...]
) -> None:
    fit(config, run_dir=tmp_path / "whole", progress=False)
    for number in steps:
        stop_at(at_step, number, config, tmp_path / "parts", resume="auto")
    fit(config, run_dir=tmp_path / "parts", resume=True, progress=False)
    found, compared = differing_bits(tmp_path / "whole", tmp_path / "parts")
    assert found == {}
    assert compared > 100_000
    log = (tmp_path / "parts" / "train.log").read_text()
    assert log.count("stopped by SIGTERM and saved") == len(steps)
    assert log.count("resumed in epoch") == len(steps)


def test_several_labels_sampled_and_held_out_resume_bit_for_bit(
    config: TrainConfig, label_list: Path, tmp_path: Path, at_step: AtStep
) -> None:
    pytest.importorskip("sklearn", reason="figures of several labels need scikit-learn, in the extra train")
    label_list.write_text(
        label_list.read_text().replace(",split", "").replace(",train", "").replace(",val", "")
    )
    config = config.with_values(
        {
            "data": str(label_list),
            "task": "multilabel",
            "split": 0.25,
            "objective.loss": "asymmetric",
            "loading.sampling": "balanced",
            "saving.select": "ap/red",
        }
    )
    fit(config, run_dir=tmp_path / "whole", progress=False)
    stop_at(at_step, 4, config, tmp_path / "parts")
    fit(None, run_dir=tmp_path / "parts", resume=True, progress=False)
    found, compared = differing_bits(tmp_path / "whole", tmp_path / "parts")
    assert found == {}
    assert compared > 100_000


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_optimizer_resumes_bit_for_bit(
    config: TrainConfig, tmp_path: Path, at_step: AtStep, name: str
) -> None:
    config = config.with_values({"optim.name": name, "optim.base_lr": 0.01, "optim.layer_decay": 0.8})
    fit(config, run_dir=tmp_path / "whole", progress=False)
    stop_at(at_step, 5, config, tmp_path / "parts")
    fit(config, run_dir=tmp_path / "parts", resume=True, progress=False)
    found, compared = differing_bits(tmp_path / "whole", tmp_path / "parts")
    assert found == {}
    assert compared > 100_000


@pytest.fixture
def steady(config: TrainConfig) -> TrainConfig:
    """The same at its whole rate until the last fifth, so that its length may change."""
    return config.with_values(
        {"progressive": (), "optim.schedule": "wsd", "optim.cooldown": 0.2, "optim.warmup_epochs": 0.5}
    )


def test_a_finished_run_is_prolonged_to_what_a_longer_one_comes_to(
    steady: TrainConfig, tmp_path: Path, at_step: AtStep
) -> None:
    longer = dataclasses.replace(steady, epochs=5)
    fit(longer, run_dir=tmp_path / "whole", progress=False)
    fit(steady, run_dir=tmp_path / "parts", progress=False)
    stop_at(at_step, 2, longer, tmp_path / "parts", resume=True)
    assert RunDir(tmp_path / "parts").read_config().epochs == 5
    fit(None, run_dir=tmp_path / "parts", resume=True, progress=False)
    assert differing_bits(tmp_path / "whole", tmp_path / "parts")[0] == {}
    log = (tmp_path / "parts" / "train.log").read_text()
    assert log.count("going back to the end of epoch 2, before the rate fell") == 1


def test_a_run_is_stopped_early_with_its_fall_and_may_still_be_prolonged(
    steady: TrainConfig, tmp_path: Path, at_step: AtStep
) -> None:
    longer = dataclasses.replace(steady, epochs=5)
    for config in (steady, longer):
        fit(config, run_dir=tmp_path / str(config.epochs), progress=False)
    stop_at(at_step, 6, longer, tmp_path / "parts")  # between its second epoch and its third
    fit(steady, run_dir=tmp_path / "parts", resume=True, progress=False)
    assert differing_bits(tmp_path / "3", tmp_path / "parts")[0] == {}
    fit(longer, run_dir=tmp_path / "parts", resume=True, progress=False)
    assert differing_bits(tmp_path / "5", tmp_path / "parts")[0] == {}


def test_a_run_is_not_stopped_earlier_than_it_has_come(
    steady: TrainConfig, tmp_path: Path, at_step: AtStep
) -> None:
    stop_at(at_step, 8, dataclasses.replace(steady, epochs=5), tmp_path / "run")
    with pytest.raises(
        TrainingError, match="has come to epoch 3 at its whole rate; epochs must be at least 4"
    ):
        fit(steady, run_dir=tmp_path / "run", resume=True, progress=False)
    assert RunDir(tmp_path / "run").read_config().epochs == 5


def test_a_run_that_falls_from_its_first_step_has_its_length(
    steady: TrainConfig, tmp_path: Path, at_step: AtStep
) -> None:
    falling = steady.with_values({"epochs": 1, "optim.warmup_epochs": 0.0})
    fit(falling, run_dir=tmp_path / "whole", progress=False)
    stop_at(at_step, 2, falling, tmp_path / "parts")
    fit(falling, run_dir=tmp_path / "parts", resume=True, progress=False)
    assert differing_bits(tmp_path / "whole", tmp_path / "parts")[0] == {}
    with pytest.raises(TrainingError, match="go on with it as long as that, or choose another run_dir"):
        fit(dataclasses.replace(falling, epochs=5), run_dir=tmp_path / "parts", resume=True, progress=False)
    assert RunDir(tmp_path / "parts").read_config().epochs == 1


def test_a_cosine_has_its_length_from_the_start(config: TrainConfig, tmp_path: Path, at_step: AtStep) -> None:
    stop_at(at_step, 2, config, tmp_path / "run")
    with pytest.raises(ConfigError, match="has epochs=3, got 4"):
        fit(dataclasses.replace(config, epochs=4), run_dir=tmp_path / "run", resume=True, progress=False)


@pytest.mark.parametrize(
    "forgotten",
    [
        "momentum",
        "losses",
        "position",
        pytest.param("averages", marks=SLOW),
        pytest.param("random", marks=SLOW),
    ],
)
def test_a_resume_that_forgets_something_shows_in_the_bits(
    config: TrainConfig, tmp_path: Path, at_step: AtStep, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    # The twin of the test above, and of the benchmark's "differing bits: 0".
    fit(config, run_dir=tmp_path / "whole", progress=False)
    stop_at(at_step, 8, config, tmp_path / "parts")
    real = Rotation.newest

    def broken(self: Rotation) -> object:
        found = real(self)
        assert found is not None
        state = found.state
        if forgotten == "momentum":
            for values in state["trainer"]["optimizer"]["state"].values():
                values["momentum_buffer"].zero_()
        elif forgotten == "averages":
            state["trainer"]["ema"]["num_updates"] = 0
        elif forgotten == "losses":
            state["progress"]["losses"].clear()
        elif forgotten == "position":
            state["progress"]["images"] -= 8
        else:
            state["random"][0]["torch"] = torch.Generator().manual_seed(99).get_state()
        Rotation(tmp_path / "broken").save(state, epoch=2, step=8)
        return real(Rotation(tmp_path / "broken"))

    monkeypatch.setattr(Rotation, "newest", broken)
    fit(config, run_dir=tmp_path / "parts", resume=True, progress=False)
    monkeypatch.setattr(Rotation, "newest", real)
    found, _ = differing_bits(tmp_path / "whole", tmp_path / "parts")
    assert found.total() > 0


def test_one_flipped_bit_is_counted_as_one(config: TrainConfig, tmp_path: Path) -> None:
    config = config.with_values({"epochs": 1, "progressive": (), "saving.checkpoint_every": "none"})
    for name in ("one", "other"):
        fit(config, run_dir=tmp_path / name, progress=False)
    assert differing_bits(tmp_path / "one", tmp_path / "other")[0] == {}
    best = tmp_path / "other" / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[-7] ^= 4
    best.write_bytes(content)
    assert differing_bits(tmp_path / "one", tmp_path / "other")[0] == {"best": 1}
    assert {"metrics of epoch 1", "state.records.0.train_loss"} <= dict(contents(tmp_path / "one")).keys()


def test_a_stop_while_evaluating_is_heeded_after_it(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trainer_module.evaluate

    def interrupted(*args: object, **options: object) -> object:
        os.kill(os.getpid(), signal.SIGUSR1)
        return real(*args, **options)

    monkeypatch.setattr(trainer_module, "evaluate", interrupted)
    with pytest.raises(PreemptedError, match=r"stopped by SIGUSR1 and saved \(epoch 2, step 1\)"):
        fit(config, run_dir=tmp_path / "run", progress=False)
    monkeypatch.setattr(trainer_module, "evaluate", real)
    assert len(fit(config, run_dir=tmp_path / "run", resume=True, progress=False).records) == 3


def test_a_long_epoch_is_saved_before_an_evaluation_that_fails(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config.with_values({"saving.checkpoint_every": "none"})
    fit(config, run_dir=tmp_path / "whole", progress=False)
    monkeypatch.setattr(loop_module, "UNSAVED_S", 0.0)
    broken = Path(config.data, "val", "dark", "00.jpg")
    content = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(BadImageError, match=r"00\.jpg"):
        fit(config, run_dir=tmp_path / "parts", progress=False)
    broken.write_bytes(content)
    fit(config, run_dir=tmp_path / "parts", resume=True, progress=False)
    assert "resumed in epoch 1 after step 3" in (tmp_path / "parts" / "train.log").read_text()
    assert differing_bits(tmp_path / "whole", tmp_path / "parts")[0] == {}


def test_handlers_are_put_back(config: TrainConfig, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    fit(dataclasses.replace(config, epochs=1, progressive=()), run_dir=tmp_path / "run", progress=False)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_auto_starts_or_resumes(config: TrainConfig, tmp_path: Path, at_step: AtStep) -> None:
    stop_at(at_step, 2, config, tmp_path / "run", resume="auto")
    with pytest.raises(ConfigError, match="holds a run already"):
        fit(config, run_dir=tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match="needs a config"):
        fit(None, run_dir=tmp_path / "run", resume="auto", progress=False)
    assert len(fit(config, run_dir=tmp_path / "run", resume="auto", progress=False).records) == 3


def test_checkpoints_come_as_often_as_asked_and_rotate(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[int, int]] = []
    real = Rotation.save

    def save(self: Rotation, state: object, *, epoch: int, step: int) -> Path:
        written.append((epoch, step))
        return real(self, state, epoch=epoch, step=step)

    monkeypatch.setattr(Rotation, "save", save)
    for every, expected in {
        "2steps": [(0, 2), (1, 3), (1, 4), (1, 6), (2, 6)],
        "1000s": [(1, 3), (2, 6)],
        "0.000001s": [(0, 1), (0, 2), (0, 3), (1, 3), (1, 4)],
        "none": [(1, 3), (2, 6)],
    }.items():
        written.clear()
        run_dir = tmp_path / every
        fit(
            config.with_values({"epochs": 2, "saving.checkpoint_every": every, "saving.keep_checkpoints": 2}),
            run_dir=run_dir,
            progress=False,
        )
        assert written[: len(expected)] == expected, every
        assert len(Rotation(run_dir / "checkpoints").files()) == 2


def test_resuming_may_change_how_it_is_saved_but_not_what_is_computed(
    config: TrainConfig, tmp_path: Path, at_step: AtStep
) -> None:
    stop_at(at_step, 2, config, tmp_path / "run")
    with pytest.raises(ConfigError, match="momentum"):
        fit(
            config.with_values({"optim.momentum": 0.5}), run_dir=tmp_path / "run", resume=True, progress=False
        )
    other = config.with_values(
        {
            "saving.checkpoint_every": "none",
            "saving.keep_checkpoints": 1,
            "loading.on_bad_image": "skip",
            "max_skipped_steps": 0,
        }
    )
    assert len(fit(other, run_dir=tmp_path / "run", resume=True, progress=False).records) == 3


def test_a_state_of_another_network_is_refused(
    config: TrainConfig, tmp_path: Path, at_step: AtStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(at_step, 2, config, tmp_path / "run")
    monkeypatch.setattr(Trainer, "state_dict", lambda self: {"network": {}})
    Rotation(tmp_path / "run" / "checkpoints").save({"trainer": {"network": {}}}, epoch=0, step=3)
    with pytest.raises(TrainingError, match=r"cannot resume from .*: not this run's state"):
        fit(config, run_dir=tmp_path / "run", resume=True, progress=False)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    assert measure(tmp_path, ranks=1, kills=2, seed=os.getpid(), epochs=2) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "workers", "kills"), [(1, 0, 20), (2, 0, 20), (1, 1, 6)])
def test_killed_often(tmp_path: Path, ranks: int, workers: int, kills: int) -> None:
    assert measure(tmp_path, ranks=ranks, kills=kills, seed=os.getpid(), workers=workers) == 0


@pytest.mark.slow
def test_a_kill_that_costs_something_is_seen(tmp_path: Path) -> None:
    # The twin: the same kills, with the checkpoints thrown away behind the run's back.
    config = configuration(ranks=1, epochs=2)
    assert finish(start(config, tmp_path / "peaceful", ranks=1))
    killer = Killer(random.Random(0))
    killed_run(dataclasses.replace(config, seed=1), tmp_path / "killed", ranks=1, killer=killer, kills=2)
    assert differing_bits(tmp_path / "peaceful", tmp_path / "killed")[0].total() > 1000


def test_a_changed_data_set_is_refused_or_said(config: TrainConfig, tmp_path: Path, at_step: AtStep) -> None:
    run_dir = tmp_path / "run"
    stop_at(at_step, 2, config, run_dir)
    gone = next(path for path in sorted(Path(config.data).glob("train/*/*")) if path.is_file())
    gone.unlink()
    before = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    with pytest.raises(TrainingError, match=r"training: \d+ images now, \d+ then \(dark: \d+ now"):
        fit(config, run_dir=run_dir, resume=True, progress=False)
    assert {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()} == before
    fit(config, run_dir=run_dir, resume=True, progress=False, allow_changed_data=True)
    assert "going on with other images: training: " in (run_dir / "train.log").read_text()
    fit(config, run_dir=run_dir, resume=True, progress=False)  # they are the run's now


def test_an_older_run_without_a_note_of_its_images_goes_on(
    config: TrainConfig, tmp_path: Path, at_step: AtStep
) -> None:
    run_dir = tmp_path / "run"
    stop_at(at_step, 2, config, run_dir)
    (run_dir / "images.json").unlink()
    fit(config, run_dir=run_dir, resume=True, progress=False)
    assert "the run has no images.json" in (run_dir / "train.log").read_text()
    (run_dir / "images.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"images\.json is damaged \('training'\); remove it to go on"):
        fit(config, run_dir=run_dir, resume=True, progress=False)
