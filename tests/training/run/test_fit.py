"""Whole runs of a tiny network: the folder, resuming, refusing, stopping."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.rotation import Rotation
from mobileone.data.open import open_data
from mobileone.data.subset import image_name
from mobileone.errors import CheckpointError, ConfigError, DataError, TrainingError
from mobileone.evaluation.evaluate import evaluate
from mobileone.input_spec import Fit
from mobileone.training.config.augmentation import Phase
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import WALL_CLOCK, EpochRecord


class StoppedError(Exception):
    """What a power cut is to a test."""


class HeldAtEpochs(Callback):
    """Notes at the end of every epoch what was noted last."""

    def __init__(self, held: list[bool]) -> None:
        self.held = held

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.held.append(self.held[-1])


class StopAfter(Callback):
    """A callback that ends the run after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, record: EpochRecord) -> None:
        if record.epoch == self.epoch:
            raise StoppedError


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).state_dict()


def saved(run_dir: Path) -> dict[str, Any]:
    """What the newest resume file holds."""
    found = Rotation(run_dir / "checkpoints").newest()
    assert found is not None
    return found.state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_writes_what_it_promises(config: TrainConfig, tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "first"
    seen: list[EpochRecord] = []

    class Listen(Callback):
        def on_epoch_end(self, record: EpochRecord) -> None:
            assert Rotation(run_dir / "checkpoints").files()
            seen.append(record)

    result = fit(config, run_dir=run_dir, callbacks=[Listen()], progress=False)
    names = {path.name for path in run_dir.iterdir()}
    assert names == {
        "config.json",
        "images.json",
        "metrics.csv",
        "train.log",
        "curves.png",
        "last.safetensors",
        "best.safetensors",
        "checkpoints",
        ".lock",
    }
    assert TrainConfig.from_dict(json.loads((run_dir / "config.json").read_text())["config"]) == config
    assert tuple(seen) == result.records
    table = rows(run_dir)
    columns = [
        "epoch",
        "step",
        "train_loss",
        "val_loss",
        "acc@1",
        "acc@5",
        "macro_f1",
        "balanced_acc",
        "lr",
        "weight_decay",
        "seconds",
        "images/s",
        "data_wait",
        "recall/dark",
        "recall/light",
    ]
    assert list(table[0]) == columns
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert float(table[1]["acc@1"]) == pytest.approx(result.last.acc1, rel=1e-5)
    assert result.last.num_images == 8
    assert (run_dir / "curves.png").read_bytes().startswith(b"\x89PNG")
    log = (run_dir / "train.log").read_text()
    assert "24 training and 8 validation images, 2 classes; 2 epochs of 3 steps" in log
    assert "epoch 2/2" in log
    assert json.loads(json.dumps(result.to_dict()))["best_epoch"] == result.best_epoch


def test_the_files_hold_the_averaged_weights_and_what_the_network_needs(
    config: TrainConfig, tmp_path: Path
) -> None:
    result = fit(config.with_values({"input_spec.crop": 0.9}), run_dir=tmp_path / "run", progress=False)
    model = load_model(tmp_path / "run" / "last.safetensors")
    assert (model.form, model.class_names) == ("train", ("dark", "light"))
    assert (model.input_spec.size, model.input_spec.crop) == (32, 0.9)
    again = evaluate(model, config.data, batch_size=8, progress=False)
    assert (again.acc1, again.loss) == (result.last.acc1, pytest.approx(result.last.loss, rel=1e-6))
    state = saved(tmp_path / "run")["trainer"]
    assert same(model.state_dict(), state["ema"]["module"])
    assert state["ema"]["num_updates"] == 6
    assert not torch.equal(model.head.fc.weight, state["network"]["head.fc.weight"])


def test_without_averaging_the_files_hold_the_raw_weights(config: TrainConfig, tmp_path: Path) -> None:
    config = config.with_values({"optim.ema_decay": 0.0, "epochs": 1, "saving.weights_suffix": ".pt"})
    fit(config, run_dir=tmp_path / "run", progress=False)
    raw = saved(tmp_path / "run")["trainer"]["network"]
    assert same(weights(tmp_path / "run" / "last.pt"), raw)
    assert (tmp_path / "run" / "best.pt").exists()


def test_a_resumed_run_is_the_uninterrupted_one(config: TrainConfig, tmp_path: Path) -> None:
    config = config.with_values(
        {"epochs": 3, "optim.warmup_epochs": 1, "progressive": (Phase(until=0.4, size=24, strength=0.5),)}
    )
    whole = fit(config, run_dir=tmp_path / "whole", progress=False)
    for epoch in (1, 2):
        with pytest.raises(StoppedError):
            fit(
                config if epoch == 1 else None,
                run_dir=tmp_path / "parts",
                resume=epoch > 1,
                callbacks=[StopAfter(epoch)],
                progress=False,
            )
        assert len(rows(tmp_path / "parts")) == epoch
    resumed = fit(config, run_dir=tmp_path / "parts", resume=True, progress=False)
    timeless = [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows(tmp_path / "whole")]
    parts = [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows(tmp_path / "parts")]
    assert parts == timeless
    for name in ("last", "best"):
        a, b = (weights(tmp_path / run / f"{name}.safetensors") for run in ("whole", "parts"))
        assert same(a, b), name
    assert (resumed.best_epoch, resumed.last.loss) == (whole.best_epoch, whole.last.loss)
    finished = fit(None, run_dir=tmp_path / "parts", resume=True, progress=False)
    assert finished.records == resumed.records
    assert finished.last == resumed.last


def test_another_seed_is_another_run(config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, epochs=1)
    a = fit(config, run_dir=tmp_path / "a", progress=False)
    b = fit(dataclasses.replace(config, seed=1), run_dir=tmp_path / "b", progress=False)
    assert a.records[0].train_loss != b.records[0].train_loss


def test_a_folder_with_a_run_is_refused_and_left_alone(config: TrainConfig, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "metrics.csv").write_text("mine")
    with pytest.raises(
        ConfigError, match=r"holds a run already \(metrics.csv\); .*resume=True.*another run_dir"
    ):
        fit(config, run_dir=run_dir, progress=False)
    assert [path.name for path in run_dir.iterdir()] == ["metrics.csv"]
    assert (run_dir / "metrics.csv").read_text() == "mine"


def test_resuming_nothing_or_something_else_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no run to resume"):
        fit(config, run_dir=tmp_path / "none", resume=True, progress=False)
    with pytest.raises(ConfigError, match="needs a config"):
        fit(None, run_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(StoppedError):
        fit(config, run_dir=tmp_path / "run", callbacks=[StopAfter(1)], progress=False)
    with pytest.raises(ConfigError, match=r"has optim\.base_lr=0\.4, got 0\.2; .*choose another run_dir"):
        fit(config.with_values({"optim.base_lr": 0.2}), run_dir=tmp_path / "run", resume=True, progress=False)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"none of the 1 checkpoints in .* can be used; .* is torn"):
        fit(config, run_dir=tmp_path / "run", resume=True, progress=False)


def test_wrong_data_claims_no_folder(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        fit(
            dataclasses.replace(config, data=str(tmp_path / "nowhere")),
            run_dir=tmp_path / "run",
            progress=False,
        )
    assert not (tmp_path / "run").exists()


def test_a_rate_that_is_far_too_high_ends_in_one_line(config: TrainConfig, tmp_path: Path) -> None:
    config = config.with_values({"optim.base_lr": 1e30, "epochs": 3})
    with pytest.raises(TrainingError, match=r"became (nan|inf)"):
        fit(config, run_dir=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_two_ranks_train_like_one_with_the_whole_batch(
    config: TrainConfig, fit_on_two_ranks: Callable[[TrainConfig], Path], tmp_path: Path
) -> None:
    (Path(config.data) / "val" / "dark" / "00.jpg").unlink()  # 7 images: ranks have different numbers
    # Parts of a step hold the same images on one rank and on two; so do clipping and weights.
    config = config.with_values(
        {
            "compute.accumulate": 2,
            "optim.clip_norm": 1.0,
            "objective.loss": "bce",
            "objective.class_weights": (1.0, 2.0),
        }
    )
    alone = fit(config, run_dir=tmp_path / "one", progress=False)
    run_dir = fit_on_two_ranks(config)
    two = rows(run_dir)
    # The same images, weights and statistics; float32 sums in another order.
    assert [float(r["train_loss"]) for r in two] == pytest.approx(
        [r.train_loss for r in alone.records], rel=1e-3
    )
    assert float(two[-1]["val_loss"]) == pytest.approx(alone.last.loss, rel=1e-2)
    assert float(two[-1]["lr"]) == pytest.approx(alone.records[-1].lr, rel=1e-5)
    content = json.loads((run_dir / "config.json").read_text())
    assert content["environment"]["world_size"] == 2
    assert (run_dir / "train.log").read_text().count("epoch 2/2") == 1


def test_the_module_that_teaches_is_needed_again(config: TrainConfig, tmp_path: Path) -> None:
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    with pytest.raises(StoppedError):
        fit(config, run_dir=tmp_path / "run", callbacks=[StopAfter(1)], teacher=teacher, progress=False)
    with pytest.raises(TrainingError, match=r"learnt from a teacher so far; .*same `teacher`"):
        fit(None, run_dir=tmp_path / "run", resume=True, progress=False)
    fit(None, run_dir=tmp_path / "run", resume=True, teacher=teacher, progress=False)


def test_torchs_switches_are_the_runs_while_it_lasts(config: TrainConfig, tmp_path: Path) -> None:
    seen = []

    class Look(Callback):
        def on_start(self, *args: object, **options: object) -> None:
            flags = (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32)
            seen.append((*flags, torch.backends.cuda.matmul.allow_tf32))

    before = (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32)
    for benchmark, tf32 in ((True, False), (False, True)):
        values = {"epochs": 1, "compute.cudnn_benchmark": benchmark, "compute.tf32": tf32}
        run_dir = tmp_path / str(tf32)
        fit(config.with_values(values), run_dir=run_dir, progress=False, callbacks=[Look()])
    assert seen == [(True, False, False), (False, True, True)]
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize("fit_by", ["crop", "letterbox"])
def test_a_network_for_rectangles_trains_and_knows_its_size(
    config: TrainConfig, tmp_path: Path, fit_by: Fit
) -> None:
    config = config.with_values(
        {
            "input_size": (48, 32),
            "fit": fit_by,
            "epochs": 2,
            "progressive": (Phase(until=0.5, size=(36, 24)),),
        }
    )
    result = fit(config, run_dir=tmp_path / "run")
    assert result.last.num_images == 8
    model = load_model(tmp_path / "run", form="inference")
    assert (model.input_spec.size, model.input_spec.fit) == ((48, 32), fit_by)
    assert evaluate(model, config.data).acc1 == result.best_value


def test_named_images_are_left_out_of_training_and_validation(config: TrainConfig, tmp_path: Path) -> None:
    train = open_data(config.data, split="train")
    val = open_data(config.data, split="val")
    names = [image_name(train, 0), image_name(train, 3), image_name(val, 1)]
    listed = tmp_path / "out.csv"
    listed.write_text("image\n" + "\n".join(names))
    chosen = config.with_values({"exclude": str(listed), "epochs": 1})
    result = fit(chosen, run_dir=tmp_path / "run", progress=False)
    assert result.last.num_images == len(val) - 1
    noted = json.loads((tmp_path / "run" / "images.json").read_text())
    assert sum(count for count, _ in noted["training"].values()) == len(train) - 2
    assert f"2 of {len(train)} images left out by {listed}" in (tmp_path / "run" / "train.log").read_text()
    listed.write_text("image\n" + names[0])
    with pytest.raises(TrainingError, match="the images are not those that the run"):
        fit(chosen, run_dir=tmp_path / "run", resume=True, progress=False)
    listed.write_text(names[2])
    assert evaluate(load_model(tmp_path / "run"), config.data, exclude=listed).num_images == len(val) - 1


def test_patience_ends_a_run_that_gets_no_better(config: TrainConfig, tmp_path: Path) -> None:
    patient = config.with_values({"epochs": 9, "patience": 2, "optim.base_lr": 1e-30, "optim.min_lr": 0.0})
    result = fit(patient, run_dir=tmp_path / "run", progress=False)
    assert len(result.records) == result.best_epoch + 2 < 9
    assert "stopped after 2 epochs without a better acc1" in (tmp_path / "run" / "train.log").read_text()
    again = fit(None, run_dir=tmp_path / "run", resume=True, progress=False)
    assert again.records == result.records


def test_a_run_on_a_cpu_keeps_freed_memory_until_it_ends(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    @contextmanager
    def noted() -> Iterator[None]:
        held.append(True)
        yield
        held.append(False)

    monkeypatch.setattr("mobileone.training.run.trainer.kept_heap", noted)
    fit(config, run_dir=tmp_path / "run", progress=False, callbacks=[HeldAtEpochs(held)])
    assert held == [True, *[True] * config.epochs, False]
