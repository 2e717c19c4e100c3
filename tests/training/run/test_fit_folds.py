"""A run a fold, their summary, and splits that a run keeps to."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mobileone.cli.main import main
from mobileone.data.folder import find_images
from mobileone.data.split_record import read_sides
from mobileone.errors import ConfigError, DataError, TrainingError
from mobileone.training.run.budget import Pace
from mobileone.training.run.fit import fit
from mobileone.training.run.fit_folds import fit_folds, summarize_folds
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.run_report import write_report
from mobileone.training.watch.records import metrics_table

pytest.importorskip("sklearn", reason="holding out needs scikit-learn, in the extra train")


@pytest.fixture
def flat(config, image_folder):
    """A run on class folders without a split: 12 dark and 12 light images."""
    return config.with_values({"data": str(image_folder / "train"), "epochs": 1})


def test_every_image_is_held_out_once_and_the_figures_are_summed_up(flat, tmp_path):
    config = flat.with_values({"folds": 3})
    results, summary = fit_folds(config, run_dir=tmp_path, progress=False)
    sides = [read_sides(tmp_path / f"fold-{fold}" / "split.jsonl") for fold in (1, 2, 3)]
    assert all(sum(side[name] for side in sides) == 1 for name in sides[0])
    found = [result.best_value for result in results]
    assert summary.mean["acc1"] == pytest.approx(np.mean(found), rel=1e-4)
    assert summary.deviation["acc1"] == pytest.approx(np.std(found, ddof=1), abs=1e-3)
    with (tmp_path / "folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["1 of 3", "2 of 3", "3 of 3", "mean", "deviation"]
    assert str(summary).splitlines()[0].split()[:3] == ["fold", "best", "epoch"]
    assert json.loads(json.dumps(summary.to_dict()))["mean"].keys() == {
        "acc1",
        "acc5",
        "macro_f1",
        "balanced_acc",
    }
    untested = [replace(record, val_loss=None, metrics={}) for record in results[2].records]
    (tmp_path / "fold-3" / "metrics.csv").write_text(
        metrics_table(untested)
    )  # as before its first evaluation
    assert summarize_folds(tmp_path).figures.keys() == {1, 2}
    shutil.rmtree(tmp_path / "fold-3")
    again, _ = fit_folds(config, run_dir=tmp_path, resume=True, progress=False)
    assert [each.best_value for each in again] == found


def test_a_budget_is_shared_out_and_every_fold_has_the_same_epochs(flat, tmp_path, monkeypatch, capsys):
    paces = iter([1.0, 2.0])  # another program wants the machine from the second fold on
    measured = lambda config: Pace(  # noqa: E731
        step_seconds=next(paces), image_seconds=0.0, steps_per_epoch=1, num_train=12, num_val=12
    )
    monkeypatch.setattr("mobileone.training.run.budget.measured", measured)
    command = ["train", "--data", flat.data, "--run-dir", str(tmp_path), "--no-report", "--device", "cpu"]
    settings = [f"model={json.dumps(flat.model.to_dict())}", "num_workers=0", "progressive=[]"]
    assert main([*command, "--folds", "2", "--budget", "5s", "--set", *settings]) == 0
    stored = [RunDir(tmp_path / f"fold-{fold}").stored_config() for fold in (1, 2)]
    assert [config.epochs for config in stored] == [2, 2]
    assert [config.optim.warmup_epochs for config in stored] == [0.4, 0.4]
    assert "budget: 2 epochs up to 32 px, as another fold has" in capsys.readouterr().err


def test_a_resumed_run_keeps_to_what_it_held_out(flat, tmp_path):
    config = flat.with_values({"split": 0.25, "epochs": 2})
    result = fit(config, run_dir=tmp_path / "run", progress=False)
    assert result.last.num_images == 6
    record = tmp_path / "run" / "split.jsonl"
    log = (tmp_path / "run" / "train.log").read_text()
    assert "6 of 24 images are held out (seed 0)" in log
    swapped = record.read_text().replace('"val"', '"?"').replace('"train"', '"val"').replace('"?"', '"train"')
    kept = record.read_text()
    record.write_text(swapped)
    with pytest.raises(TrainingError, match="the images are not those"):
        fit(None, run_dir=tmp_path / "run", resume=True, progress=False)
    record.write_text(kept)
    fit(None, run_dir=tmp_path / "run", resume=True, progress=False)
    assert len(write_report(tmp_path / "run", progress=False).answers) == 6
    moved = shutil.copytree(flat.data, tmp_path / "moved" / "train")
    for data in (flat.data, str(moved)):
        report = write_report(tmp_path / "run", data=data, progress=False)
        assert (len(report.answers), report.answers.figures["acc1"]) == (6, pytest.approx(result.last.acc1))
    parted = str(tmp_path / "images")  # which has validation images of its own
    assert len(write_report(tmp_path / "run", data=parted, progress=False).answers) == 8


def test_what_a_run_held_out_is_what_test_takes(flat, tmp_path, capsys):
    config = flat.with_values({"split": 0.25})
    result = fit(config, run_dir=tmp_path / "run", progress=False)
    for data in (config.data, tmp_path / "run" / "split.jsonl"):
        assert main(["test", str(tmp_path / "run"), "--data", str(data), "--workers", "0", "--json"]) == 0
        captured = capsys.readouterr()
        tested = json.loads(captured.out)
        assert (tested["num_images"], tested["acc1"]) == (6, pytest.approx(result.last.acc1))
    assert main(["test", str(tmp_path / "run"), "--data", config.data, "--workers", "0"]) == 0
    assert "divided as" in capsys.readouterr().err


def test_a_set_of_the_hub_is_divided_gone_on_with_and_tested(flat, tmp_path, monkeypatch, capsys):
    """Every split and fold of one was refused: its images are no files."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = find_images(flat.data, split=None)
    content = {
        "image": [{"bytes": found.read(index).data, "path": None} for index in range(len(found))],
        "label": found.labels.tolist(),
    }
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(found.classes))}
    )
    datasets.Dataset.from_dict(content, features=features).save_to_disk(tmp_path / "saved")
    data = f"hf:{tmp_path}/saved"
    fit(
        flat.with_values({"data": data, "split": 0.25, "epochs": 2}), run_dir=tmp_path / "run", progress=False
    )
    result = fit(None, run_dir=tmp_path / "run", resume=True, progress=False)
    command = ["test", str(tmp_path / "run"), "--data", data, "--workers", "0"]
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    tested = json.loads(capsys.readouterr().out)
    assert (tested["num_images"], tested["acc1"]) == (6, pytest.approx(result.last.acc1))
    assert main([*command, "-o", str(tmp_path / "rows")]) == 0
    rows = (tmp_path / "rows" / "part-000000.jsonl").read_text().splitlines()
    names = [json.loads(row)["image"] for row in rows]
    sides = read_sides(tmp_path / "run" / "split.jsonl")
    assert sorted(names) == sorted(name for name, is_val in sides.items() if is_val)


def test_folds_and_data_that_cannot_be_are_refused(flat, config, tmp_path):
    with pytest.raises(ConfigError, match="fit_folds needs folds and no fold, got folds=0, fold=0"):
        fit_folds(flat, run_dir=tmp_path)
    with pytest.raises(ConfigError, match="folds=3 without fold is several runs"):
        fit(flat.with_values({"folds": 3}), run_dir=tmp_path / "run")
    with pytest.raises(DataError, match="are splits by their names"):
        fit(config.with_values({"split": 0.2}), run_dir=tmp_path / "run")
    with pytest.raises(DataError, match="digits has its own validation images; leave split and folds out"):
        fit(config.with_values({"data": "digits", "split": 0.2}), run_dir=tmp_path / "run")
    with pytest.raises(TrainingError, match="holds no fold with an evaluated epoch"):
        summarize_folds(tmp_path)
    assert not (tmp_path / "run").exists()
