"""The loop: what comes after what, what is kept as best, and what is told."""

import csv
import dataclasses
from pathlib import Path

import pytest
import torch

from mobileone.checkpoint.load import load_model
from mobileone.data.folder import find_images
from mobileone.errors import BadImageError
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run import loop as loop_module
from mobileone.training.run import trainer as trainer_module
from mobileone.training.run.fit import fit
from mobileone.training.run.loop import TrainLoop
from mobileone.training.run.progress import RunProgress
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.savepoints import Savepoints
from mobileone.training.run.trainer import Trainer
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import EpochRecord, FitResult, StepReport


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_an_epoch_is_trained_tested_written_saved_and_told_in_this_order(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    class Tell(Callback):
        def on_steps(self, report: StepReport) -> None:
            happened.append(f"step {report.step}")

        def on_epoch_end(self, record: EpochRecord) -> None:
            happened.append(f"told {record.epoch}")

    def noting(owner: type, name: str, word: str) -> None:
        real = getattr(owner, name)

        def noted(*args: object, **options: object) -> object:
            happened.append(word)
            return real(*args, **options)

        monkeypatch.setattr(owner, name, noted)

    noting(Trainer, "evaluate", "test")
    noting(RunDir, "write_metrics", "write")
    noting(Savepoints, "save", "save")
    trainer = Trainer(config, find_images(config.data, split="train"), Distributed())
    progress = RunProgress(steps_per_epoch=trainer.steps_per_epoch, step_images=trainer.step_images)
    files = RunDir(tmp_path / "run")
    loop = TrainLoop(
        trainer,
        progress,
        Savepoints(trainer, progress, files, log=happened.append),
        files,
        find_images(config.data, split="val"),
        log=lambda line: happened.append(line[:9]),
        show=False,
        callbacks=[Tell()],
    )
    result = loop.run()
    end = ["test", "write", "save"]
    first = ["step 1", "step 2", "step 3", *end, "epoch 1/2", "told 1"]
    assert happened == [*first, "step 4", "step 5", "step 6", *end, "epoch 2/2", "told 2"]
    assert result.last is progress.last
    assert (progress.step, [record.epoch for record in result.records]) == (6, [1, 2])


def test_best_is_the_first_epoch_of_the_largest_top1(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([40.0, 70.0, 60.0, 70.0])
    real = trainer_module.evaluate

    def rigged(*args: object, **options: object) -> object:
        return dataclasses.replace(real(*args, **options), metrics={"acc1": next(accuracies), "acc5": 99.0})

    monkeypatch.setattr(trainer_module, "evaluate", rigged)
    kept: dict[int, dict[str, torch.Tensor]] = {}

    class Keep(Callback):
        def on_epoch_end(self, record: EpochRecord) -> None:
            kept[record.epoch] = weights(tmp_path / "run" / "last.safetensors")

    config = dataclasses.replace(config, epochs=4)
    result = fit(config, run_dir=tmp_path / "run", callbacks=[Keep()], progress=False)
    assert (result.best_epoch, result.best_value, result.last.acc1) == (2, 70.0, 70.0)
    best = weights(tmp_path / "run" / "best.safetensors")
    assert same(best, kept[2])
    assert not same(best, kept[4])
    assert same(weights(tmp_path / "run" / "last.safetensors"), kept[4])


def test_evaluations_may_be_rare_and_the_last_epoch_always_has_one(
    config: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, epochs=3, eval_every=2, batch_size=24)
    result = fit(config, run_dir=tmp_path / "run", progress=False)
    assert [record.acc1 is None for record in result.records] == [True, False, False]
    assert rows(tmp_path / "run")[0]["acc@1"] == ""


def test_patience_ends_a_run_at_an_evaluation(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"acc1": 50.0, "acc5": 99.0}
    real = trainer_module.evaluate
    monkeypatch.setattr(
        trainer_module, "evaluate", lambda *a, **o: dataclasses.replace(real(*a, **o), metrics=figures)
    )
    config = dataclasses.replace(config, epochs=9, eval_every=3, patience=2, batch_size=24)
    result = fit(config, run_dir=tmp_path / "run", progress=False)
    assert [record.epoch for record in result.records if record.metrics] == [3, 6]
    assert len(result.records) == 6


def test_progress_is_drawn_on_stderr_alone(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(dataclasses.replace(config, epochs=1), run_dir=tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 1/1" in err
    for shown in ("images/s", "data ", "acc@1", "lr "):
        assert shown in err


def test_callbacks_hear_of_start_steps_epochs_and_end(config: TrainConfig, tmp_path: Path) -> None:
    heard: list[object] = []

    class Listen(Callback):
        def on_start(self, run_dir: Path, config: TrainConfig, *, step: int) -> None:
            heard.append(("start", run_dir, step))

        def on_steps(self, report: StepReport) -> None:
            heard.append(report)

        def on_epoch_end(self, record: EpochRecord) -> None:
            heard.append(record)

        def on_end(self, result: FitResult) -> None:
            heard.append(result)

    result = fit(config, run_dir=tmp_path / "run", callbacks=[Listen(), Callback()], progress=False)
    kinds = [type(each).__name__ for each in heard]
    assert kinds == ["tuple", *(["StepReport"] * 3 + ["EpochRecord"]) * 2, "FitResult"]
    assert heard[0] == ("start", tmp_path / "run", 0)
    assert heard[-1] is result
    reports = [each for each in heard if isinstance(each, StepReport)]
    assert [(report.step, report.epoch) for report in reports] == [(n, 1 + (n > 3)) for n in range(1, 7)]
    assert reports[-1].lr == result.records[-1].lr
    assert [record.step for record in result.records] == [3, 6]
    assert all(0 <= report.data_wait <= 1 and report.images_per_second > 0 for report in reports)
    # The steps to come as each report times them; from the second epoch on also the evaluation, as the first
    # one took.
    steps = [(6 - report.step) * config.batch_size / report.images_per_second for report in reports]
    tests = [report.seconds_left - taken for report, taken in zip(reports, steps, strict=True)]
    assert tests[:3] == pytest.approx([0] * 3)
    assert tests[3:] == pytest.approx([tests[3]] * 3)
    assert tests[3] > 0


def test_unreadable_images_stop_a_run_or_are_listed(config: TrainConfig, tmp_path: Path) -> None:
    broken = Path(config.data) / "train" / "dark" / "03.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    empty = Path(config.data) / "val" / "light" / "01.jpg"
    empty.write_bytes(b"")
    with pytest.raises(BadImageError, match=r"03\.jpg"):
        fit(config, run_dir=tmp_path / "a", progress=False)
    config = config.with_values({"loading.on_bad_image": "skip"})
    result = fit(config, run_dir=tmp_path / "b", progress=False)
    assert [Path(path).name for path in result.skipped] == ["03.jpg"]
    assert result.last.num_images == 7
    assert [Path(path).name for path in result.last.skipped] == ["01.jpg"]
    log = (tmp_path / "b" / "train.log").read_text()
    assert log.count("skipped") == 1
    assert str(broken) in log


def test_curves_that_cannot_be_drawn_end_no_run(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(loop_module, "draw_curves", fail)
    fit(config, run_dir=tmp_path / "run", progress=False)
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert log.count("curves.png was not drawn: ValueError('no ink')") == 1
