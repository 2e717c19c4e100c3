"""`mobileone shard` and `mobileone check-data` as a user meets them, and training from what they write."""

import itertools
import json
import os
import shutil
import signal

import pytest
import torch

from mobileone.checkpoint.load import load_model
from mobileone.errors import PreemptedError
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.step import TrainStep
from mobileone.training.run.fit import fit

pytest.importorskip("webdataset", reason="shards need webdataset, an extra")


def test_writing_verifying_and_damage(run, photos, tmp_path):
    out = tmp_path / "shards"
    code, text, _ = run("shard", photos, "-o", out, "--shard-size", 4, "--workers", 0)
    assert code == 0
    assert text.splitlines()[0].split() == ["split", "shards", "images", "size"]
    assert text.splitlines()[1].split()[:3] == ["train", "4", "16"]
    code, text, _ = run("shard", "--verify", out, "--workers", 0, "--json")
    assert (code, json.loads(text)["shards"], json.loads(text)["images"]) == (0, 6, 22)
    code, _, err = run("shard", photos, "-o", out, "--shard-size", 4, "--workers", 0)
    assert code == 1
    assert "holds these shards already" in err
    with (out / "train-000001.tar").open("r+b") as file:
        file.seek(2000)
        file.write(b"damage")
    code, text, err = run("shard", out, "--verify", "--workers", 0)
    assert (code, text) == (1, "")
    assert "train-000001.tar (" in err
    assert len(err.splitlines()) == 1


def test_resized_shards_state_how(run, photos, tmp_path):
    command = ["shard", photos, "-o", tmp_path / "small", "--resize-short", 20, "--quality", 80, "--json"]
    code, text, _ = run(*command, "--workers", 0)
    assert code == 0
    result = json.loads(text)
    assert (result["resize_short"], result["quality"], result["splits"][0]["num_images"]) == (20, 80, 16)


@pytest.mark.parametrize("options", [[], ["--verify", "--index"], ["--verify", "-o", "x"]])
def test_one_thing_at_a_time(run, photos, options):
    code, _, err = run("shard", photos, *options)
    assert code == 1
    assert "one of -o OUT (write), --verify (check) and --index" in err


def test_training_from_shards_is_training_from_the_folder(tiny, photos, tmp_path, run, monkeypatch):
    """Local shards: the same weights to the last bit. Piped ones: another order, all images."""
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "shards"
    assert run("shard", photos, "-o", out, "--shard-size", 4, "--workers", 0)[0] == 0

    def trained(name, data):
        config = TrainConfig(model=tiny, data=str(data), epochs=1, batch_size=4).with_values(
            {"input_spec.size": 32, "loading.num_workers": 0, "compute.device": "cpu"}
        )
        result = fit(config, run_dir=tmp_path / name, progress=False)
        return result, load_model(tmp_path / name / "last.safetensors").state_dict()

    folder, weights = trained("folder", photos)
    local, same = trained("local", f"{out}/train-{{000000..000003}}.tar")
    piped, others = trained("piped", f"pipe:cat {out}/train-{{000000..000003}}.tar")
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert folder.last.loss == local.last.loss
    assert piped.last.num_images == 6
    assert any(not torch.equal(weights[name], others[name]) for name in weights)


def test_a_streamed_run_goes_on_in_the_middle_of_an_epoch(tiny, photos, tmp_path, run, monkeypatch):
    """Stopped after step 2 of 4 and resumed, with the cache emptied meanwhile: the same bits."""
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "shards"
    assert run("shard", photos, "-o", out, "--shard-size", 4, "--workers", 0)[0] == 0
    config = TrainConfig(
        model=tiny, data=f"pipe:cat {out}/train-{{000000..000003}}.tar", epochs=1, batch_size=4
    ).with_values({"input_spec.size": 32, "loading.num_workers": 0, "compute.device": "cpu"})
    fit(config, run_dir=tmp_path / "whole", progress=False)
    real, steps = TrainStep.__call__, itertools.count(1)

    def step(self, *arguments, **options):
        result = real(self, *arguments, **options)
        if next(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(TrainStep, "__call__", step)
    with pytest.raises(PreemptedError):
        fit(config, run_dir=tmp_path / "parts", progress=False)
    shutil.rmtree(tmp_path / "cache")
    fit(config, run_dir=tmp_path / "parts", resume=True, progress=False)
    assert "resumed in epoch 1 after step 2" in (tmp_path / "parts" / "train.log").read_text()
    whole, parts = (
        load_model(tmp_path / name / "last.safetensors").state_dict() for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("break_it", ["gap", "torn", "index", "class"])
def test_bad_shards_are_refused_before_the_first_step(run, photos, tmp_path, break_it):
    out, train = tmp_path / "shards", tmp_path / "run"
    assert run("shard", photos, "-o", out, "--shard-size", 4, "--workers", 0)[0] == 0
    data = f"{out}/train-{{000000..000003}}.tar"
    if break_it == "gap":
        (out / "train-000002.tar").unlink()
    elif break_it == "torn":
        (out / "train-000002.tar").write_bytes((out / "train-000002.tar").read_bytes()[:3000])
    elif break_it == "index":
        (out / "train-000002.json").unlink()
    else:
        (photos / "val" / "dog").rename(photos / "val" / "wolf")
        data = str(photos)
    code, text, err = run("train", "--data", data, "--run-dir", train, "--set", "num_workers=0")
    assert (code, text, len(err.splitlines())) == (1, "", 1)
    assert ("wolf" if break_it == "class" else "train-000002") in err
    assert not train.exists()
