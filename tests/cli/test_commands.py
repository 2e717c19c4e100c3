"""The command line as a user meets it: results on stdout; errors one line on stderr, exit code 1 or 2."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "code", "wanted"),
    [
        (["test", "mobilone_s0", "--data", "digits"], 1, "mobileone_s0"),
        (["test", "missing.pth", "--data", "digits"], 1, "missing.pth"),
        (["test", "mobileone_s0", "--data", "nowhere"], 1, "nowhere"),
        (["predict", "mobileone_s0"], 1, "at least one image"),
        (["predict", "mobileone_s0", "missing.jpg"], 1, "missing.jpg"),
        (["predict", "mobileone_s0", "missing.jpg", "--topk", "0"], 1, "topk"),
        (["train", "--recipe", "paper_s9"], 1, "did you mean"),
        (["train", "--set", "epoch=3"], 1, "did you mean epochs"),
        (["train", "--set", "epoch=3", "--set", "batch_size=4"], 1, "did you mean epochs"),
        (["train", "--set", "epochs=three"], 1, "whole number"),
        (["train", "--set", "mixup=0.2"], 1, "did you mean mix.mixup"),
        (["train", "--set", "distill.teacher=mobileone_s4"], 1, "a variant without weights"),
        (["train", "--set", "class_weights=1,2", "--dry-run"], 1, "2 numbers, the data 10 classes"),
        (["train", "--recipe", "paper_s2", "--set", "epochs=4"], 1, "a phase of progressive has no epoch"),
        (["train", "--resume", "--run-dir", "nowhere"], 1, "no run to resume"),
        (["report", "nowhere"], 1, "holds no run"),
        (["explain", "mobileone_s0", "a.jpg", "--png", "b.jpg"], 1, "must end in .png"),
        (["test", "mobileone_s0", "--data", "digits", "--device", "cuda:99"], 1, "cuda:99"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, monkeypatch, arguments, code, wanted):
    monkeypatch.chdir(tmp_path)
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert wanted in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
