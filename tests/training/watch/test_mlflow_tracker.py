"""A run in MLflow's own files, in two parts."""

import pytest

from mobileone.errors import ConfigError, MissingExtraError, MobileOneWarning
from mobileone.training.run.fit import fit
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.mlflow_tracker import MlflowTracker


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")


class StopAfterFirst(Callback):
    def on_epoch_end(self, record):
        if record.epoch == 1:
            raise KeyboardInterrupt


def test_a_run_in_two_parts_is_one_with_its_curves_settings_and_files(mlflow, config, tmp_path):
    place, run_dir = str(tmp_path / "tracked"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(config, run_dir=run_dir, callbacks=[MlflowTracker(place), StopAfterFirst()], progress=False)
    result = fit(
        None, run_dir=run_dir, resume=True, callbacks=[MlflowTracker(place, files=True)], progress=False
    )
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "tracked").as_uri())
    experiment = client.get_experiment_by_name("mobileone")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["optim.base_lr"] == "0.4"
    history = client.get_metric_history(run.info.run_id, "acc1")
    assert [(each.step, each.value) for each in history] == [(r.epoch, r.acc1) for r in result.records]
    assert {"train_loss", "images/s", "recall/dark"} <= set(run.data.metrics)
    kept = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {"best.safetensors", "config.json", "metrics.csv"} <= kept


def test_a_run_that_was_deleted_there_begins_anew(mlflow, config, tmp_path):
    place, run_dir = str(tmp_path / "tracked"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(config, run_dir=run_dir, callbacks=[MlflowTracker(place), StopAfterFirst()], progress=False)
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "tracked").as_uri())
    experiment = client.get_experiment_by_name("mobileone").experiment_id
    client.delete_run(client.search_runs([experiment])[0].info.run_id)
    fit(None, run_dir=run_dir, resume=True, callbacks=[MlflowTracker(place)], progress=False)
    (run,) = client.search_runs([experiment])
    assert [each.step for each in client.get_metric_history(run.info.run_id, "acc1")] == [2]


def test_a_server_that_is_down_does_not_stop_the_run(mlflow, config, tmp_path):
    with pytest.warns(MobileOneWarning, match="tracker mlflow:http://127.0.0.1:1") as said:
        fit(
            config,
            run_dir=tmp_path / "run",
            callbacks=[MlflowTracker("http://me:secret@127.0.0.1:1")],
            progress=False,
        )
    assert "secret" not in "".join(str(each.message) for each in said)


def test_an_address_of_no_store_is_refused_before_the_run(mlflow):
    with pytest.raises(ConfigError, match="MLflow cannot use mlflow:nonsense://x") as caught:
        MlflowTracker("nonsense://x")
    assert "\n" not in str(caught.value)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[mlflow\]'"):
        MlflowTracker()
