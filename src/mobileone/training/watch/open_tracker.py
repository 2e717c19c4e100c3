"""Where a run is told of, by name."""

from __future__ import annotations

from mobileone.errors import ConfigError
from mobileone.training.watch.callback import Callback

TRACKERS = ("tensorboard", "mlflow[:URI]", "wandb[:PROJECT]")


def open_tracker(address: str, *, files: bool = False) -> Callback:
    """A callback for `fit` that tells a tracker of the run.

    A run that is resumed goes on as the same one there. `mlflow` and `wandb` get the configuration, and every
    epoch the figures of metrics.csv; if they are out of reach, that is said once and the run goes on.

    Args:
        address: `tensorboard`, into RUN_DIR/tensorboard; `mlflow:URI`, a folder, `sqlite:///FILE` or
            `http://…`, without URI `$MLFLOW_TRACKING_URI`; or `wandb:PROJECT`, with `ENTITY/` before it or
            not, without project `mobileone`.
        files: whether to hand over best weights, configuration, metrics and curves when the run ends.

    Raises:
        ConfigError: on another name, or an address that the tracker has no use for.
        MissingExtraError: without the tracker's package.
    """
    kind, colon, place = address.partition(":")
    if kind == "tensorboard" and not colon:
        if files:
            raise ConfigError("tensorboard keeps no files of a run; leave files out, or track in another")
        from mobileone.training.watch.tensorboard import TensorBoard

        return TensorBoard()
    if kind == "mlflow" and bool(place) == bool(colon):
        from mobileone.training.watch.mlflow_tracker import MlflowTracker

        return MlflowTracker(place or None, files=files)
    if kind == "wandb" and bool(place) == bool(colon):
        from mobileone.training.watch.wandb_tracker import WandbTracker

        return WandbTracker(place or None, files=files)
    raise ConfigError(f"a run can be tracked in {', '.join(TRACKERS)}, got {address!r:.100}")
