"""The folder of a training run: what is in it, and who may write there."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mobileone.atomic import atomic_path
from mobileone.errors import ConfigError, TrainingError
from mobileone.train.config import TrainConfig

# Where the data lies and how it is loaded may differ when a run goes on; what is computed may not.
MAY_CHANGE = ("data", "device", "num_workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One line of metrics.csv.

    Attributes:
        epoch: 1 for the first.
        train_loss: mean loss of the epoch's steps, over all ranks, with label smoothing.
        val_loss: cross-entropy of the averaged weights on the validation images; None if not evaluated.
        acc1: their top-1, percent; likewise.
        acc5: their top-5, percent; likewise.
        lr: learning rate of the last step.
        weight_decay: weight decay of the last step.
        seconds: wall time of the training part.
        images_per_second: training images over all ranks in a second of it.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    acc1: float | None
    acc5: float | None
    lr: float
    weight_decay: float
    seconds: float
    images_per_second: float


COLUMNS = {
    "epoch": "epoch",
    "train_loss": "train_loss",
    "val_loss": "val_loss",
    "acc1": "acc@1",
    "acc5": "acc@5",
    "lr": "lr",
    "weight_decay": "weight_decay",
    "seconds": "seconds",
    "images_per_second": "images/s",
}
"""Fields of `EpochRecord` and the names of their columns in metrics.csv."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths and writers of a run's folder.

    Attributes:
        path: the folder.
        suffix: of the `last` and `best` files.
    """

    path: Path
    suffix: str = ".safetensors"

    @property
    def config(self) -> Path:
        """The resolved configuration and the environment."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One line an epoch."""
        return self.path / "metrics.csv"

    @property
    def state(self) -> Path:
        """What resuming needs."""
        return self.path / "last_state.pt"

    @property
    def curves(self) -> Path:
        """The metrics as a picture."""
        return self.path / "curves.png"

    @property
    def log_file(self) -> Path:
        """What was printed, with the time."""
        return self.path / "train.log"

    def weights(self, which: str) -> Path:
        """The model file `last` or `best`."""
        return self.path / f"{which}{self.suffix}"

    def read_config(self) -> TrainConfig:
        """The configuration of the run that is there.

        Raises:
            TrainingError: if there is none.
        """
        return TrainConfig.from_dict(self._read()["config"])

    def _read(self) -> dict[str, Any]:
        if not self.config.exists():
            raise TrainingError(f"{self.path} holds no run to resume; leave --resume out to start one")
        try:
            content = json.loads(self.config.read_text(encoding="utf-8"))
            return {
                "config": dict(content["config"]),
                "world_size": int(content["environment"]["world_size"]),
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"cannot resume: {self.config} is not a run's config: {error}") from error

    def check(self, config: TrainConfig, *, resume: bool, world_size: int) -> None:
        """Refuse a folder that `config` must not train in.

        Args:
            config: of the run.
            resume: whether to go on with the run that is there.
            world_size: number of ranks.

        Raises:
            ConfigError: if a run is there and `resume` is not set, or it has another configuration.
            TrainingError: if `resume` is set and no run is there.
        """
        if resume:
            self._check_same(config, world_size)
            return
        for path in (self.config, self.state, self.metrics, self.weights("last"), self.weights("best")):
            if path.exists():
                raise ConfigError(
                    f"{self.path} holds a run already ({path.name}); "
                    "go on with it by --resume, or choose another --run-dir"
                )

    def _check_same(self, config: TrainConfig, world_size: int) -> None:
        stored = self._read()
        if stored["world_size"] != world_size:
            raise ConfigError(
                f"the run in {self.path} has {stored['world_size']} ranks, got {world_size}; resume it with "
                "as many, for batch and learning rate follow from them"
            )
        before, now = TrainConfig.from_dict(stored["config"]).to_dict(), config.to_dict()
        changed = [name for name in now if now[name] != before[name] and name not in MAY_CHANGE]
        if changed:
            raise ConfigError(
                f"the run in {self.path} has {changed[0]}={before[changed[0]]!r}, got {now[changed[0]]!r}"
                + (f" (and {len(changed) - 1} more differ)" if len(changed) > 1 else "")
                + "; resume it with its own settings, or choose another --run-dir"
            )

    def claim(self, config: TrainConfig, *, world_size: int) -> None:
        """Write config.json: from here on the folder holds a run."""
        environment = {
            "world_size": world_size,
            "mobileone": _version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        text = json.dumps({"config": config.to_dict(), "environment": environment}, indent=2)
        with atomic_path(self.config) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def write_metrics(self, records: Sequence[EpochRecord]) -> None:
        """Write metrics.csv anew, so that a resumed run never repeats a line."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS.values())
        for record in records:
            values = dataclasses.asdict(record)
            writer.writerow("" if values[name] is None else _short(values[name]) for name in COLUMNS)
        with atomic_path(self.metrics) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")

    def log(self, line: str, *, show: bool = True) -> None:
        """Append a line to train.log, and print it to stderr above the progress bar."""
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
        if show:
            tqdm.write(line, file=sys.stderr)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _version() -> str:
    from mobileone import __version__

    return str(__version__)
