"""A service that is down, slow or back again: the run does not mind."""

import threading
import warnings

import pytest

from mobileone.errors import MobileOneWarning
from mobileone.training.run.fit import fit
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.tracker import Tracker, known_name


class Service(Tracker):
    """Keeps what it is told; fails, or waits, as long as it is to."""

    wait_s = wait_at_end_s = 0.3

    def __init__(self, *, down=(), files=False):
        super().__init__("service:https://me:secret@host", files=files)
        self.down, self.told, self.gate = set(down), [], threading.Event()
        self.gate.set()

    def _tell(self, kind, value):
        self.gate.wait(20)
        if kind in self.down:
            raise RuntimeError(f"no route to https://me:secret@host\nat all for {kind}")
        self.told.append((kind, value))

    def begin(self, run):
        self._tell("begin", (run.name, run.known_as, run.settings["epochs"]))
        return run.known_as or "name-7"

    def send(self, values, *, epoch):
        self._tell("send", (epoch, sorted(values)))

    def keep(self, paths):
        self._tell("keep", [path.name for path in paths])

    def end(self):
        self._tell("end", None)


class StopAfterFirst(Callback):
    def on_epoch_end(self, record):
        if record.epoch == 1:
            raise KeyboardInterrupt


def kinds(service):
    return [kind for kind, _ in service.told]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_it_is_told_every_epoch_under_the_names_of_metrics_csv(config, tmp_path, suffix):
    service = Service(files=True)
    config = config.with_values({"saving.weights_suffix": suffix})
    fit(config, run_dir=tmp_path / "run", callbacks=[service], progress=False)
    assert kinds(service) == ["begin", "send", "send", "keep", "end"]
    assert service.told[0][1] == ("run", None, 2)
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert service.told[1][1] == (1, sorted(header))
    assert service.told[3][1][:2] == [f"best{suffix}", "config.json"]


def test_files_are_kept_only_when_asked_for(config, tmp_path):
    service = Service()
    fit(config, run_dir=tmp_path / "run", callbacks=[service], progress=False)
    assert kinds(service) == ["begin", "send", "send", "end"]


def test_one_that_is_down_is_said_once_and_the_run_goes_on(config, tmp_path):
    service = Service(down=["begin", "send"])
    with pytest.warns(MobileOneWarning) as said:
        result = fit(config, run_dir=tmp_path / "run", callbacks=[service], progress=False)
    assert len(result.records) == 2
    lines = [str(each.message) for each in said if "tracker" in str(each.message)]
    assert lines == [
        "the tracker service:https://host cannot be told (no route to https://host at all for begin); the "
        "run goes on, and tells it again after each epoch"
    ]


def test_one_that_is_back_again_is_told_everything(config, tmp_path):
    service = Service(down=["begin"])

    class Mend(Callback):
        def on_epoch_end(self, record):
            service.down.clear()

    with pytest.warns(MobileOneWarning, match="cannot be told"):
        fit(config, run_dir=tmp_path / "run", callbacks=[Mend(), service], progress=False)
    assert kinds(service) == ["begin", "send", "send", "end"]


def test_one_that_hangs_is_not_waited_for(config, tmp_path):
    service = Service()
    service.gate.clear()
    with pytest.warns(MobileOneWarning, match=r"does not answer within 0.3 s"):
        fit(config, run_dir=tmp_path / "run", callbacks=[service], progress=False)
    assert service.told == []
    service.gate.set()
    service._worker.join()
    assert kinds(service) == ["begin", "send", "send", "end"]


def test_a_resumed_run_is_the_same_one(config, tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(config, run_dir=run_dir, callbacks=[Service(), StopAfterFirst()], progress=False)
    assert known_name(run_dir, "service:https://host") == "name-7"
    assert "secret" not in (run_dir / "tracked.json").read_text()
    service = Service()
    with warnings.catch_warnings():
        warnings.simplefilter("error", MobileOneWarning)
        fit(None, run_dir=run_dir, resume=True, callbacks=[service], progress=False)
    assert service.told[0][1] == ("run", "name-7", 2)
    assert [value[0] for kind, value in service.told if kind == "send"] == [2]


def test_a_damaged_record_begins_a_new_one(tmp_path):
    assert known_name(tmp_path, "mlflow:x") is None
    (tmp_path / "tracked.json").write_text('{"mlflow:x": 3}')
    assert known_name(tmp_path, "mlflow:x") is None
