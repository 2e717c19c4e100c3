"""TensorBoard sees what metrics.csv and the progress bar do, once, also in a run in two parts."""

import dataclasses
import warnings
from pathlib import Path

import pytest

from mobileone.errors import MissingExtraError
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import EpochRecord
from mobileone.training.watch.tensorboard import FOLDER, TensorBoard


def curves(run_dir: Path) -> dict[str, dict[int, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        log = accumulator.EventAccumulator(str(run_dir / FOLDER))
        log.Reload()
    return {name: {e.step: e.value for e in log.Scalars(name)} for name in log.Tags()["scalars"]}


class StopAfterFirst(Callback):
    def on_epoch_end(self, record: EpochRecord) -> None:
        if record.epoch == 1:
            raise KeyboardInterrupt


def test_a_run_in_two_parts_is_one_curve(config: TrainConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(KeyboardInterrupt):
        fit(config, run_dir=tmp_path / "run", callbacks=[TensorBoard(), StopAfterFirst()], progress=False)
    result = fit(None, run_dir=tmp_path / "run", resume=True, callbacks=[TensorBoard()], progress=False)
    found = curves(tmp_path / "run")
    fields = {field.name for field in dataclasses.fields(EpochRecord)} - {"epoch", "step", "metrics"}
    fields |= result.last.metrics.keys()
    assert {name for name in found if name.startswith("epochs/")} == {f"epochs/{name}" for name in fields}
    assert list(found["steps/loss"]) == [1, 2, 3, 4, 5, 6]
    assert list(found["epochs/acc1"].items()) == [(r.step, pytest.approx(r.acc1)) for r in result.records]
    assert "steps/data_wait" in found


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[tensorboard\]'"):
        TensorBoard()
