"""predict in parts, by processes that are killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError
from mobileone.inference.predictor import Predictor
from mobileone.parts.merge import merge
from mobileone.parts.predict_parts import predict_parts

SLOWLY = """
import sys, time
from mobileone.cli.main import main
from mobileone.inference.predictor import Predictor
transform_of = Predictor._decode
def slow(self, given):
    time.sleep(0.05)
    return transform_of(self, given)
Predictor._decode = slow
sys.exit(main(sys.argv[1:]))
"""


def start(arguments, rank, world_size):
    environment = {"RANK": str(rank), "WORLD_SIZE": str(world_size), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finished(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("[!_.]*")}


@pytest.mark.slow
@pytest.mark.parametrize("then", [1, 3])
def test_killed_and_started_again_on_other_ranks_every_image_is_there_once(
    predictor, make_shards, tmp_path, then
):
    shards, out = make_shards(12), tmp_path / "out"
    model = save_model(predictor.classifier.model, tmp_path / "m.safetensors")
    command = ["predict", str(model), *shards, "-o", str(out), "--workers", "1"]
    first = [start(command, rank, 2) for rank in range(2)]
    until = time.monotonic() + 60
    while len(finished(out)) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    for process in first:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = finished(out)
    assert 3 <= len(before) < 12, "it was killed in the middle"
    again = [start(command, rank, then) for rank in range(then)]
    for process in again:
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told.decode()
    after = finished(out)
    assert {name: after[name] for name in before} == before, "finished parts are not touched"
    assert not list(out.glob(".*")), "half-written parts are cleared"
    merged = merge(out, tmp_path / "all.jsonl")
    assert (merged.parts, merged.images) == (12, 36)
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    wanted = [
        [each.to_dict() | {"image": f"{shard}: {n}-{i}.jpg"} for i, each in enumerate(of_shard)]
        for n, shard in enumerate(shards)
        for of_shard in [list(Predictor(predictor.classifier).stream(read(shard)))]
    ]
    assert [row["image"] for row in rows] == [each["image"] for part in wanted for each in part]
    for row, each in zip(rows, (each for part in wanted for each in part), strict=True):
        assert row["scores"][0]["probability"] == pytest.approx(each["scores"][0]["probability"], abs=1e-5)


def read(shard):
    from mobileone.data.shards.bare_shard import BareShard

    source = BareShard(shard)
    return [source.read(index).data for index in range(len(source))]


@pytest.mark.slow
def test_under_torchrun_as_it_is_written_in_the_docs(predictor, make_shards, tmp_path):
    pytest.importorskip("webdataset", reason="braces need webdataset, an extra")
    shards = make_shards(4)
    os.unlink(shards[2])
    model = save_model(predictor.classifier.model, tmp_path / "m.safetensors")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "mobileone", "predict", model, "shards/{000..003}.tar", "-o", "out/"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "part 002 failed: shards/002.tar cannot be read" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jsonl")) == [
        "000.jsonl",
        "001.jsonl",
        "003.jsonl",
    ]
    make_shards(4)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert merge(tmp_path / "out").images == 12


def test_values_out_of_range_write_nothing(predictor, photos, tmp_path):
    for values, told in (
        ({"topk": 0}, "topk must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"row_format": "csv"}, "jsonl or parquet"),
    ):
        with pytest.raises(ConfigError, match=told):
            predict_parts(predictor, [str(photos)], tmp_path / "out", **values)
    assert not (tmp_path / "out").exists()
