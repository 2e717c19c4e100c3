"""Predictions that are interrupted in every way stay, and go on to the file that a whole run writes."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mobileone.cli.main import main
from mobileone.cli.prediction_file import COLUMNS, PredictionFile, csv_rows
from mobileone.errors import ConfigError, MobileOneError
from mobileone.inference.predictor import Prediction, Score


@pytest.fixture
def images(tmp_path):
    """Twelve photos of which each comes out otherwise."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 20 * number + 20, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def one(image="a.jpg", name="cat", error=None):
    scores = () if error else (Score(0, name, name, 0.75), Score(1, "dog", "dog", 0.25))
    return Prediction(image, scores, error=error)


def write_all(output, *predictions, done=()):
    """Write them one after the other; a name is a prediction for it, an exception is raised."""
    with output.writer(done) as write:
        for prediction in predictions:
            if isinstance(prediction, BaseException):
                raise prediction
            write(one(prediction) if isinstance(prediction, str) else prediction)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_an_interrupted_file_keeps_what_is_done_and_says_so(suffix, tmp_path, capsys):
    output = PredictionFile(tmp_path / f"out.{suffix}")
    with pytest.raises(KeyboardInterrupt):
        write_all(output, "a.jpg", one("b.jpg", error="b.jpg: broken"), "c.jpg", KeyboardInterrupt())
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{suffix}.partial"]
    err = capsys.readouterr().err
    assert err == f"3 predictions are kept in {output.partial}; --resume goes on\n"
    again = PredictionFile(output.path, resume=True)
    names = [done.name for done in again.done()]
    assert names == (["a.jpg", "b.jpg"] if suffix == "csv" else ["a.jpg", "b.jpg", "c.jpg"])
    write_all(again, *["a.jpg", "b.jpg", "c.jpg", "d.jpg"][len(names) :], done=again.done())
    whole = PredictionFile(tmp_path / f"whole.{suffix}")
    write_all(whole, "a.jpg", one("b.jpg", error="b.jpg: broken"), "c.jpg", "d.jpg")
    assert output.path.read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert not output.partial.exists()


def test_an_interrupted_file_with_nothing_in_it_goes(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), PredictionFile(tmp_path / "out.csv").writer():
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_partial_file_gives_whole_images_only(suffix, cut, tmp_path):
    output = PredictionFile(tmp_path / f"out.{suffix}", resume=True)
    with pytest.raises(KeyboardInterrupt):
        write_all(output, "a.jpg", "b.jpg", "c.jpg", KeyboardInterrupt())
    output.partial.write_bytes(output.partial.read_bytes()[:-cut])
    done = output.done()
    assert [each.name for each in done] == ["a.jpg", "b.jpg", "c.jpg"][: len(done)]
    assert 1 <= len(done) <= 2
    assert all(each.scores == ((0, 0.75), (1, 0.25)) for each in done)


@pytest.mark.parametrize(
    "content",
    [b"[1]\n", b"{}\n", b"\xff\n", b'{"image": 1, "scores": 3}\n', b"[" * 10**5 + b"\n", b"a,b\r\n1,2\r\n"],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_hostile_partial_file_is_refused_in_a_line(content, suffix, tmp_path):
    output = PredictionFile(tmp_path / f"out.{suffix}", resume=True)
    output.partial.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no predictions") as caught:
        output.done()
    assert str(caught.value).isprintable()


def test_nothing_is_overwritten_unasked(tmp_path):
    (tmp_path / "out.csv.partial").write_text("precious")
    with pytest.raises(ConfigError, match=r"pass --resume to go on with it, or --force to begin anew"):
        PredictionFile(tmp_path / "out.csv")
    write_all(PredictionFile(tmp_path / "out.csv", force=True), "a.jpg")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="exists already"):
            PredictionFile(tmp_path / "out.csv", resume=resume)


def test_a_fifo_in_place_of_a_partial_file_is_refused_at_once(tmp_path, no_hang):
    output = PredictionFile(tmp_path / "out.csv", resume=True)
    os.mkfifo(output.partial)
    with pytest.raises(MobileOneError, match="no regular file but a pipe"):
        output.done()


def test_two_processes_do_not_write_one_file(tmp_path):
    output = PredictionFile(tmp_path / "out.csv", resume=True)
    with output.partial.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(MobileOneError, match="another process is writing"), output.writer():
            pass


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, capsys):
    output = PredictionFile(tmp_path / "out.csv", resume=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, before[1]))  # some of the images
    try:
        with pytest.raises(MobileOneError, match=r"cannot write .*out\.csv\.partial: File too large"):
            write_all(output, *"abcdef")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"predictions are kept in {output.partial}" in capsys.readouterr().err
    done = output.done()
    assert [each.name for each in done] == list("abcdef")[: len(done)]
    assert 1 <= len(done) < 6
    write_all(output, *"abcdef"[len(done) :], done=done)
    write_all(PredictionFile(tmp_path / "whole.csv"), *"abcdef")
    assert output.path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.csv.partial").symlink_to("precious")
    with pytest.raises(MobileOneError, match=r"cannot write .*out\.csv\.partial"):
        write_all(PredictionFile(tmp_path / "out.csv", force=True), "a")
    assert (tmp_path / "precious").read_text() == "precious"


def test_hostile_names_reach_no_spreadsheet_and_come_back_raw_from_jsonl(tmp_path):
    hostile = one("=cmd|'/C calc'!A0\x1b[2J", name="@SUM(1)\r\n\ud800")
    rows = list(csv_rows(hostile))
    assert rows[0][0] == r"'=cmd|'/C calc'!A0\x1b[2J"
    assert rows[0][3] == r"'@SUM(1)\x0d\x0a\ud800"
    assert next(csv_rows(one("+a", error="-b\n")))[0::8] == ("'+a", r"'-b\x0a")
    write_all(PredictionFile(tmp_path / "out.jsonl"), hostile)
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert json.loads(text) == json.loads(json.dumps(hostile.to_dict()))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_predict_that_is_interrupted_goes_on_to_the_same_file(run, model_file, images, tmp_path, suffix):
    def predict(output, *options):
        return run("predict", model_file, images, "-o", output, "--batch-size", 3, *options)

    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    assert predict(whole)[0] == 0
    taken = images / "07.png"
    content = taken.read_bytes()
    taken.write_bytes(b"")  # it breaks in the middle
    code, _, err = predict(out)
    assert (code, "07.png" in err, "6 predictions are kept" in err) == (1, True, True)
    assert "is what an interrupted run has left; pass --resume" in predict(out)[2]
    taken.write_bytes(content)
    assert "are kept" not in (done := predict(out, "--resume"))[2]
    assert done[0] == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_predict_does_not_go_on_with_something_else(run, model_file, images, tmp_path, tiny):
    out = tmp_path / "out.jsonl"
    (images / "07.png").write_bytes(b"")
    predict = ["predict", model_file, images, "-o", out, "--batch-size", 3]
    assert run(*predict)[0] == 1
    kept = out.with_name("out.jsonl.partial").read_bytes()
    assert "comes out otherwise" in run(*predict, "--resume", "--topk", 1)[2]
    (images / "00.png").rename(images / "99.png")
    assert "as image 1, these images do not" in run(*predict, "--resume")[2]
    assert "--resume goes on with an --output" in run("predict", model_file, images, "--resume")[2]
    assert out.with_name("out.jsonl.partial").read_bytes() == kept


def test_predict_interrupted_by_sigterm_leaves_no_hidden_file_and_goes_on(model_file, images, tmp_path):
    for number in range(300):
        os.link(images / f"{number % 12:02}.png", images / f"x{number:03}.png")
    out = tmp_path / "out.jsonl"
    command = [
        sys.executable,
        "-m",
        "mobileone",
        "predict",
        model_file,
        images,
        "-o",
        out,
        "--batch-size",
        "2",
    ]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    partial = tmp_path / "out.jsonl.partial"
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 143, err
    assert err.splitlines()[-1] == "mobileone: stopped by SIGTERM"
    assert "--resume goes on" in err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert main([*map(str, command[3:]), "--resume"]) == 0
    names = [json.loads(line)["image"] for line in out.read_text().splitlines()]
    assert names == sorted(map(str, images.iterdir()))


def test_a_table_says_which_labels_are_chosen():
    scores = (Score(0, "hat", "hat", 0.75), Score(1, "red", "red", 0.25))
    rows = list(csv_rows(Prediction("a.jpg", scores, labels=("hat",))))
    assert [row[COLUMNS.index("chosen")] for row in rows] == [1, 0]
    assert [row[COLUMNS.index("chosen")] for row in csv_rows(one())] == ["", ""]
