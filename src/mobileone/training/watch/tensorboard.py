"""A run in TensorBoard."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mobileone.errors import MissingExtraError
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import EpochRecord, FitResult, StepReport

FOLDER = "tensorboard"


class TensorBoard(Callback):
    """Writes every number that metrics.csv and the progress bar have to RUN_DIR/tensorboard, by step.

    A resumed run goes on in the same curves: what a killed process wrote beyond the checkpoint is hidden.

    Raises:
        MissingExtraError: without the package tensorboard.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "TensorBoard needs the package tensorboard, not there; pip install 'mobileone[tensorboard]'"
            ) from error
        self._open = SummaryWriter
        self._writer: Any = None

    def on_start(self, run_dir: Path, config: TrainConfig, *, step: int) -> None:
        """Open the log, and write the configuration into it."""
        self._writer = self._open(str(run_dir / FOLDER), purge_step=step + 1)
        if not step:
            lines = [f"    {name}: {value}" for name, value in config.settings().items()]
            self._writer.add_text("config", "\n".join(lines), 0)

    def on_steps(self, report: StepReport) -> None:
        """Curves under "steps"."""
        for name, value in dataclasses.asdict(report).items():
            if name not in ("step", "epoch"):
                self._writer.add_scalar(f"steps/{name}", value, report.step)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Curves under "epochs", also by step."""
        values = record.to_dict()
        for name, value in (values | values.pop("metrics")).items():
            if name not in ("step", "epoch") and value is not None:
                self._writer.add_scalar(f"epochs/{name}", value, record.step)
        self._writer.flush()

    def on_end(self, result: FitResult) -> None:
        """Close the log."""
        self._writer.close()
