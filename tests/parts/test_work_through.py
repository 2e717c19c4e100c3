"""Parts that several processes do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobileone.parts.predict_parts import predict_parts
from mobileone.parts.work_through import ELSEWHERE


def results(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}


def test_what_is_there_is_not_done_again(predictor, make_shards, tmp_path):
    shards, out = make_shards(3), tmp_path / "out"
    report = predict_parts(predictor, shards, out)
    assert (report.done_here, report.images_here, report.is_whole) == (("000", "001", "002"), 9, True)
    before = results(out)
    (out / "001.jsonl").unlink()
    report = predict_parts(predictor, shards, out)
    assert (report.done_here, report.there_before) == (("001",), 2)
    assert results(out) == before


def test_a_shard_that_is_gone_is_named_and_done_when_it_is_back(predictor, make_shards, tmp_path):
    shards, out, told = make_shards(3), tmp_path / "out", []
    content = Path(shards[1]).read_bytes()
    os.unlink(shards[1])
    report = predict_parts(predictor, shards, out, on_failure=lambda name, why: told.append((name, why)))
    assert (report.done_here, list(report.failed), report.is_whole) == (("000", "002"), ["001"], False)
    assert told[0][0] == "001"
    assert "001.tar cannot be read" in told[0][1]
    Path(shards[1]).write_bytes(content)
    report = predict_parts(predictor, shards, out)
    assert (report.done_here, report.there_before, report.is_whole) == (("001",), 2, True)


def test_an_image_that_is_damaged_fails_its_part_or_has_the_reason(predictor, make_shards, photos, tmp_path):
    (photos / "val" / "cat" / "2.jpg").write_bytes(b"no picture")
    words, out = [str(photos)], tmp_path / "out"
    report = predict_parts(predictor, words, out, part_size=2)
    assert (list(report.failed), len(report.done_here)) == (["part-000001"], 3)
    report = predict_parts(predictor, words, out, part_size=2, on_bad_image="skip")
    assert (report.done_here, report.is_whole) == (("part-000001",), True)
    rows = [json.loads(line) for line in (out / "part-000001.jsonl").read_text().splitlines()]
    assert [row["error"] is None for row in rows] == [False, True]


def test_a_rank_begins_with_its_own_and_helps_with_the_others(predictor, make_shards, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    report = predict_parts(predictor, make_shards(6), tmp_path / "out")
    assert report.done_here == ("001", "004", "005", "003", "002", "000")


def test_without_locks_a_rank_does_its_own(predictor, make_shards, tmp_path, monkeypatch):
    from mobileone.parts import claims

    monkeypatch.setattr(claims, "fcntl", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    shards = make_shards(3)
    for rank, done, left in (("0", ("000", "002"), ("001",)), ("1", ("001",), ())):
        monkeypatch.setenv("RANK", rank)
        report = predict_parts(predictor, shards, tmp_path / "out")
        assert (report.done_here, report.left, report.failed) == (done, left, {})


HOLD = """
import sys
from pathlib import Path
from mobileone.parts.claims import Claims
claims = Claims(Path(sys.argv[1]))
claims.take(int(sys.argv[2]))
if sys.argv[3] == "failed":
    claims.mark_failed(int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that is at work on a part, or has failed on it, until it is killed."""
    started = []

    def start(byte, how):
        command = [sys.executable, "-c", HOLD, tmp_path / "out" / "_claims", str(byte), how]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_part_of_a_process_that_is_killed_is_done_by_who_is_there(
    predictor, make_shards, tmp_path, holder, monkeypatch
):
    shards = make_shards(3)
    predict_parts(predictor, shards, tmp_path / "out")
    for name in ("001", "002"):
        (tmp_path / "out" / f"{name}.jsonl").unlink()
    process = holder(1, "working")
    killed = []

    def kill(done, total):
        if done == 2 and not killed:
            killed.append(process.kill())

    report = predict_parts(predictor, shards, tmp_path / "out", on_progress=kill)
    assert killed
    assert (report.done_here, report.is_whole) == (("002", "001"), True)


def test_a_part_that_failed_elsewhere_is_neither_waited_for_nor_tried(
    predictor, make_shards, tmp_path, holder
):
    shards = make_shards(2)
    predict_parts(predictor, shards, tmp_path / "out")
    (tmp_path / "out" / "001.jsonl").unlink()
    holder(1, "failed")
    report = predict_parts(predictor, shards, tmp_path / "out")
    assert (report.done_here, report.failed) == ((), {"001": ELSEWHERE})
