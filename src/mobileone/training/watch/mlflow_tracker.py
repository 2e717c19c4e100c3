"""A run in MLflow: its files, a database, or a server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileone.errors import ConfigError, MissingExtraError
from mobileone.training.watch.tracker import TrackedRun, Tracker

EXPERIMENT = "mobileone"
MAX_TEXT, MAX_PARAMS = 500, 100  # characters of a value, and values at a time, that every store takes
_NOT_ALLOWED = re.compile(r"[^\w\-. :/]", re.ASCII)


class MlflowTracker(Tracker):
    """Parameters, and metrics by epoch; `acc@1` is `acc1` there, where names have no @.

    The experiment is `$MLFLOW_EXPERIMENT_NAME`, else `mobileone`; who may write is told as MLflow has it
    (`$MLFLOW_TRACKING_TOKEN`, …).

    Args:
        uri: a folder, `sqlite:///FILE`, `http://…`; None is `$MLFLOW_TRACKING_URI`, else MLflow's default.
        files: as of `Tracker`.

    Raises:
        MissingExtraError: without the package mlflow or mlflow-skinny.
        ConfigError: if MLflow has no use for the address.
    """

    def __init__(self, uri: str | None = None, *, files: bool = False) -> None:
        try:
            from mlflow import MlflowClient, get_tracking_uri
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise MissingExtraError(
                "tracking in MLflow needs the package mlflow-skinny, not there; "
                "pip install 'mobileone[mlflow]'"
            ) from error
        if uri is not None and "://" not in uri:
            uri = Path(uri).absolute().as_uri()
        if uri is not None and uri.startswith("file:"):
            # MLflow wants this said by who uses its files, and naming them says it.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = uri or get_tracking_uri()
        super().__init__(f"mlflow:{uri}", files=files)
        try:
            self._client = MlflowClient(tracking_uri=uri)
        except MlflowException as error:
            raise ConfigError(f"MLflow cannot use {self.address}: {self._reason(error)}") from error
        self._run_id = ""

    def begin(self, run: TrackedRun) -> str:
        """Begin the run there, or go on with it."""
        self._run_id = self._found(run.known_as) or self._created(run)
        return self._run_id

    def send(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Tell the values of an epoch."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), value, now, epoch) for name, value in values.items()]
        for start in range(0, len(metrics), MAX_PARAMS):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + MAX_PARAMS])

    def keep(self, paths: Sequence[Path]) -> None:
        """Hand files over."""
        for path in paths:
            self._client.log_artifact(self._run_id, str(path))

    def end(self) -> None:
        """Nothing comes any more."""
        self._client.set_terminated(self._run_id)

    def _found(self, run_id: str | None) -> str | None:
        """The run of before, running again; None if somebody has deleted it."""
        from mlflow.exceptions import MlflowException

        if run_id is None:
            return None
        try:
            if self._client.get_run(run_id).info.lifecycle_stage != "active":
                return None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _created(self, run: TrackedRun) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        place = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        run_id = str(self._client.create_run(place, run_name=run.name).info.run_id)
        params: list[Any] = [
            Param(metric_name(key), str(value)[:MAX_TEXT]) for key, value in run.settings.items()
        ]
        for start in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + MAX_PARAMS])
        return run_id


def metric_name(column: str) -> str:
    """A column of metrics.csv as MLflow lets it be called.

    >>> metric_name("acc@1"), metric_name("images/s"), metric_name("recall/t-shirt (red)")
    ('acc1', 'images/s', 'recall/t-shirt _red_')
    """
    return _NOT_ALLOWED.sub("_", column.replace("acc@", "acc"))
