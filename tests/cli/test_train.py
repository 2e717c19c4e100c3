"""`mobileone train` and `mobileone report`: from start to resumed end, a dry run, a stop."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.model.create import create_model
from mobileone.training.config.recipe import RECIPES
from mobileone.training.run.budget import Pace


def test_train_then_resume_then_use(run, photos, tiny, tmp_path):
    weights = save_model(create_model(tiny, num_classes=5).eval(), tmp_path / "start.safetensors")
    command = [
        "train",
        "--data",
        photos,
        "--recipe",
        "finetune",
        "--init",
        weights,
        "--run-dir",
        tmp_path / "run",
    ]
    settings = ["--set", "epochs=2", "batch_size=4", "input_size=32", "num_workers=0", "amp=off"]
    code, out, err = run(*command, *settings)
    assert (code, "acc@1" in out) == (0, True), err
    assert load_model(tmp_path / "run").class_names == ("cat", "dog")
    assert f"report: {tmp_path / 'run' / 'report.html'}" in err
    assert (tmp_path / "run" / "report.html").exists()
    code, _, err = run(*command, *settings)
    assert code == 1
    assert "holds a run already (config.json); go on with it by --resume, or choose another --run-dir" in err
    code, out, _ = run("train", "--run-dir", tmp_path / "run", "--resume", "--json")
    assert (code, len(json.loads(out)["records"])) == (0, 2)


def test_help_names_every_recipe_of_the_table():
    # In a process of its own: help shall cost nobody the import of torch.
    code = (
        "import sys; from mobileone.cli.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("\nFalse\n"), done.stderr
    text = " ".join(done.stdout.replace("│", " ").split())
    told = text.partition("--recipe {None}|STR ")[2].partition(". Default: digits;")[0]
    assert told.replace(" or ", ", ").split(", ") == [*RECIPES]


def test_resuming_with_another_recipe_is_refused(run, photos, tmp_path):
    command = ["train", "--data", photos, "--run-dir", tmp_path / "run", "--no-report"]
    settings = ["--set", "epochs=1", "batch_size=4", "num_workers=0"]
    assert run(*command, "--recipe", "digits", *settings)[0] == 0
    # The very same command goes on, as does one without a recipe: nothing is left to train.
    assert run(*command, "--recipe", "digits", *settings, "--resume", "auto")[0] == 0
    assert run("train", "--run-dir", tmp_path / "run", "--resume", "--no-report")[0] == 0
    for recipe, why in (
        ("finetune", "--recipe finetune has model=None, the run in "),
        ("digits", "--recipe digits has epochs=12, the run in "),
    ):
        code, out, err = run("train", "--run-dir", tmp_path / "run", "--recipe", recipe, "--resume")
        assert (code, out) == (1, "")
        assert why in err
        assert "leave --recipe out to go on with the run as it is, or choose another --run-dir" in err
    code, _, err = run("train", "--run-dir", tmp_path / "run", "--recipe", "digit", "--resume")
    assert (code, "did you mean digits?" in err) == (1, True)


def test_a_dry_run_prints_what_the_run_would_be(run, photos, tmp_path):
    weights = save_model(create_model("mobileone_s0", num_classes=2), tmp_path / "start.safetensors")
    settings = [
        "--set",
        "epochs=2",
        "batch_size=2",
        "input_size=32",
        "--set",
        "num_workers=0",
        "mix.mixup=0.2",
        "freeze=stem,stages",
    ]
    command = ["train", "--data", photos, "--recipe", "finetune", "--init", weights]
    command += ["--run-dir", tmp_path / "run", "--dry-run", "--device", "cpu"]
    code, out, err = run(*command, *settings)
    assert code == 0, err
    headline = "16 training images of 2 classes; 2 epochs of 8 steps of 2 images on 1 rank"
    for line in (headline, "frozen", "GB a rank", "optim.weight_decay"):
        assert line in out
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["schedule.png"]
    code, out, _ = run(*command, "--json", *settings)
    assert (code, json.loads(out)["config"]["mix"]["mixup"]) == (0, 0.2)


def test_a_probe_takes_the_size_of_its_photos_and_goes_on_by_the_same_command(run, photos, tiny, tmp_path):
    weights = save_model(create_model(tiny, num_classes=3), tmp_path / "start.safetensors")
    command = ["train", "--data", photos, "--recipe", "linear_probe", "--init", weights, "--device", "cpu"]
    command += ["--run-dir", tmp_path / "run", "--no-report", "--set", "num_workers=0"]
    code, out, err = run(*command)
    assert code == 0, err
    assert "acc@1" in out
    assert "input size 32 px: half of the training images have a short side of" in err
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (stored["input_spec"]["size"], stored["probe"]["views"]) == (32, "plain")
    code, again, err = run(*command, "--resume", "auto")
    assert (code, again) == (0, out), err
    code, _, err = run(*command, "epochs=20")
    assert (code, "epochs must be 1 with a probe" in err) == (1, True)
    code, _, err = run(*command, "--resume", "auto", "--input-size", "48")
    assert (code, "input_spec.size=48" in err) == (1, True), err


def test_a_budget_chooses_the_epochs_and_the_same_command_goes_on(run, photos, tiny, tmp_path):
    weights = save_model(create_model(tiny, num_classes=3), tmp_path / "start.safetensors")
    command = ["train", "--data", photos, "--recipe", "finetune", "--init", weights, "--device", "cpu"]
    command += ["--run-dir", tmp_path / "run", "--no-report", "--budget", "1h", "--set", "num_workers=0"]
    code, out, err = run(*command, "patience=1", "base_lr=1e-9")
    assert code == 0, err
    assert "budget 1 h 00 min: 30 epochs at 32 px, for a step took" in err
    log = (tmp_path / "run" / "train.log").read_text()
    assert "budget 1 h 00 min: 30 epochs" in log
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (stored["epochs"], stored["batch_size"]) == (30, 8)
    code, again, err = run(*command, "patience=1", "base_lr=1e-9", "--resume", "auto")
    assert (code, again) == (0, out), err
    code, _, err = run(*command, "epochs=3")
    assert (code, "epochs and --budget both say how long" in err) == (1, True)
    code, _, err = run("train", "--recipe", "linear_probe", "--data", photos, "--budget", "soon")
    assert (code, "a budget must be a time such as 90s" in err) == (1, True)


@pytest.fixture
def configured(run, photos, monkeypatch):
    """What `train` with these arguments would run, and of which notes, on a machine of a known pace."""
    told = []

    class EnoughError(Exception):
        pass

    def fit(config, *, notes, **_):
        told.append((config, notes))
        raise EnoughError

    def configured(*arguments):
        with pytest.raises(EnoughError):
            run("train", "--data", photos, "--run-dir", "never", *arguments)
        return told[-1]

    pace = Pace(step_seconds=1.0, image_seconds=0.0, steps_per_epoch=10, num_train=100, num_val=10)
    monkeypatch.setattr("mobileone.training.run.budget.measured", lambda config: pace)
    monkeypatch.setattr("mobileone.training.run.fit.fit", fit)
    return configured


def test_a_budget_heeds_what_was_asked_for(configured):
    config, _ = configured("--recipe", "reference", "--budget", "40s")
    assert [phase.until for phase in config.progressive] == [0.75]
    config, _ = configured("--recipe", "reference", "--budget", "40s", "--set", "progressive=[]")
    assert (config.epochs, config.progressive) == (3, ())


def test_options_and_settings_are_looked_at_together(configured):
    config, _ = configured("--recipe", "imagenette", "--input-size", 96, "--set", "progressive=[]")
    assert (config.input_spec.size, config.progressive) == (96, ())


def test_a_run_that_is_told_to_stop_exits_with_75(photos, tiny, tmp_path):
    command = [sys.executable, "-m", "mobileone", "train", "--data", photos, "--run-dir", tmp_path / "run"]
    command += ["--checkpoint-every", "1steps", "--resume", "auto", "--set"]
    command += [f"model={json.dumps(tiny.to_dict())}", "batch_size=8", "epochs=400", "residual_start=false"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 1/400" in line:
                process.send_signal(signal.SIGUSR1)
                break
        rest = process.stderr.read()
    assert process.returncode == 75, rest
    assert "mobileone: " in rest.splitlines()[-1]
    assert "stopped by SIGUSR1 and saved" in rest.splitlines()[-1]
    assert "Traceback" not in rest
    assert "--resume" in rest.splitlines()[-1]


def test_flags_are_fields_and_settings_go_over_them(run, photos, tmp_path):
    command = ["train", "--data", photos, "--run-dir", tmp_path / "run", "--dry-run", "--json"]
    command += ["--on-bad-image", "skip", "--checkpoint-every", "5steps", "--device", "cpu"]
    small = ["epochs=2", "batch_size=4", "num_workers=0"]
    code, out, err = run(*command, "--set", *small, "checkpoint_every=none", "crop_scale=0.5,1")
    assert code == 0, err
    config = json.loads(out)["config"]
    assert config["data"] == str(photos)
    assert config["loading"].items() >= {"num_workers": 0, "on_bad_image": "skip"}.items()
    assert config["saving"]["checkpoint_every"] == "none"
    assert config["augment"]["crop_scale"] == [0.5, 1.0]
    code, _, err = run(*command, "--set", "epoch=3")
    assert (code, "unknown training field 'epoch'; did you mean epochs?" in err) == (1, True)


@pytest.mark.slow
def test_a_class_that_is_not_utf8_and_a_terminal_that_is_not(tmp_path):
    """From training to export, in processes of their own with a terminal that knows ASCII alone."""
    generator = np.random.default_rng(0)
    for split, number in (("train", 4), ("val", 2)):
        for name in ("caf\udce9", "猫"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{index}\udcff.png")
    data, run_dir = tmp_path / "data", tmp_path / "run"
    settings = ["epochs=1", "batch_size=4", "input_size=32", "warmup_epochs=0", "num_workers=0"]
    for arguments in (
        ["check-data", data, "--workers", 0],
        ["check-data", data, "--workers", 0, "--json"],
        ["train", "--data", data, "--run-dir", run_dir, "--set", *settings],
        ["report", run_dir],
        ["test", run_dir, "--data", data, "--workers", 0],
        ["predict", run_dir, data / "val", "-o", tmp_path / "predictions.csv"],
        ["predict", run_dir, data / "val", "-o", tmp_path / "predictions.jsonl"],
        ["predict", run_dir, data / "val"],
        ["export", run_dir, "-o", tmp_path / "net.pt2"],
        ["predict", tmp_path / "net.pt2", data / "val", "--json"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "mobileone", *map(str, arguments)],
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, (arguments, done.stderr[-2000:])
        assert done.stdout.isascii()
        assert b"Traceback" not in done.stderr
    assert load_model(run_dir).class_names == ("caf\\xe9", "猫")
    assert "caf\\xe9,caf\\xe9" in (tmp_path / "predictions.csv").read_text(encoding="utf-8")


def test_folds_are_trained_one_after_the_other_or_one_alone(run, photos, tiny, tmp_path):
    pytest.importorskip("sklearn", reason="holding out needs scikit-learn, in the extra train")
    command = [
        "train",
        "--data",
        photos / "train",
        "--run-dir",
        tmp_path / "run",
        "--device",
        "cpu",
        "--no-report",
    ]
    small = ["--set", f"model={json.dumps(tiny.to_dict())}", "epochs=1", "batch_size=4", "num_workers=0"]
    code, out, err = run(*command, "--folds", 2, "--fold", 2, *small, "input_size=32")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["acc@1", "fold", "2", "mean", "deviation"]
    code, out, err = run(*command, "--folds", 2, "--resume", "--json", *small, "input_size=32")
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["folds"], list(summary["figures"])) == (2, ["1", "2"])
    assert f"folds: {tmp_path / 'run' / 'folds.csv'}" in err
    code, _, err = run(*command, "--folds", 2, "--fold", 3, *small)
    assert (code, "fold must be in 1..2, got 3" in err) == (1, True)
    code, _, err = run(*command, "--split", 0.5, "--fold", 1, *small)
    assert (code, "give --folds as well" in err) == (1, True)


def test_a_list_without_split_says_which_flags_there_are(run, tmp_path, photos):
    (photos / "list.csv").write_text("image,labels\ntrain/cat/0.jpg,a;b\n")
    code, _, err = run(
        "train", "--data", photos / "list.csv", "--task", "multilabel", "--run-dir", tmp_path / "run"
    )
    assert (code, "pass --split 0.2 or --folds, or" in err) == (1, True)
    code, _, err = run("train", "--data", photos / "list.csv", "--split", 0.5, "--run-dir", tmp_path / "run")
    assert (code, "must have one, unless --task multilabel" in err) == (1, True)
    assert not (tmp_path / "run").exists()


def test_trackers_by_name(run, photos, tmp_path):
    arguments = ("train", "--data", photos, "--run-dir", tmp_path / "run", "--set", "epochs=1")
    for words, said in [
        (("--track", "comet"), "tensorboard, mlflow[:URI], wandb[:PROJECT], got 'comet'"),
        (("--track-files",), "name one with --track"),
        (("--track", "tensorboard", "--track-files"), "leave --track-files out, or --track in another"),
    ]:
        code, _, err = run(*arguments, *words)
        assert (code, said in err) == (1, True), err
    assert not (tmp_path / "run").exists()
