"""A run in Weights & Biases' own files, without its servers."""

import json
import os
import struct
import subprocess
import sys

import pytest

from mobileone.errors import MissingExtraError
from mobileone.training.watch.wandb_tracker import WandbTracker

# Its library starts a process of its own, and reads its environment once: so does each part here.
PART = """
import sys
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.wandb_tracker import WandbTracker

class StopAfterFirst(Callback):
    def on_epoch_end(self, record):
        if record.epoch == 1:
            raise SystemExit

if __name__ == "__main__":
    import json, pathlib
    config, run_dir, part = sys.argv[1:]
    config = TrainConfig.from_dict(json.loads(config)) if part == "first" else None
    stops = [StopAfterFirst()] if part == "first" else []
    callbacks = [WandbTracker("me/pets", files=True), *stops]
    fit(config, run_dir=run_dir, resume=part != "first", callbacks=callbacks, progress=False)
"""


def records(folder):
    """What an offline run's file holds: behind 7 bytes, 32 KiB blocks of records in parts, as LevelDB's."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("run-*.wandb")
    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


@pytest.mark.slow
def test_a_run_in_two_parts_has_one_name_and_both_epochs(config, tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed")
    env = os.environ | {"WANDB_MODE": "offline", "WANDB_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path)}
    for part in ("first", "second"):
        command = [sys.executable, "-c", PART, json.dumps(config.to_dict()), str(tmp_path / "run"), part]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
    folders = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    ids, epochs, names, settings = set(), [], set(), {}
    for folder in folders:
        for record in records(folder):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add((record.run.run_id, record.run.entity, record.run.project, record.run.display_name))
            if kind == "config":
                settings |= {item.key: json.loads(item.value_json) for item in record.config.update}
            if kind == "history":
                items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                epochs.append(int(float(items["epoch"])))
                names |= set(items)
    ((run_id, entity, project, name),) = ids
    assert run_id == json.loads((tmp_path / "run" / "tracked.json").read_text())["wandb:me/pets"]
    assert (entity, project, name) == ("me", "pets", "run")
    assert settings["optim.base_lr"] == 0.4
    assert epochs == [1, 2]
    assert {"acc@1", "train_loss", "images/s", "recall/dark"} <= names


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[wandb\]'"):
        WandbTracker()
