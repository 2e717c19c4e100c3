"""The folder of a training run: what is in it, and who may write there."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from mobileone.atomic import atomic_path, leftovers
from mobileone.checkpoint.hub import is_on_hub
from mobileone.data.fingerprint import Fingerprint
from mobileone.data.hub_address import is_saved_here
from mobileone.data.shards.address import is_remote
from mobileone.data.split_record import RECORD_NAME
from mobileone.errors import ConfigError, MobileOneError, TrainingError
from mobileone.outside_text import json_text, printable_lines, require_unicode
from mobileone.regular_file import read_json
from mobileone.task import Task
from mobileone.training.config.train_config import CONFIG_VERSION, TrainConfig
from mobileone.training.watch.records import EpochRecord, metrics_table

Resume = bool | Literal["auto"]

LOCK_NAME = ".lock"
MAX_RANKS = 2**20

# Where the data lies, how it is loaded and what happens when things go wrong may differ when a run goes on;
# what is computed may not.
MAY_CHANGE = (
    "data",
    "val_data",
    "max_skipped_steps",
    "compute.device",
    "compute.compile",
    "compute.cudnn_benchmark",
    "compute.rank_timeout_s",
    "loading.num_workers",
    "loading.on_bad_image",
    "saving.checkpoint_every",
    "saving.keep_checkpoints",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a run starts in its folder.

    Attributes:
        resumes: whether it goes on with what is there.
        world_size: number of ranks that the run was first started with: with `batch_size`, they make the
            images of a step, whatever the number of ranks is now.
    """

    resumes: bool
    world_size: int


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths and writers of a run's folder.

    Attributes:
        path: the folder.
        suffix: of the `last` and `best` files.
    """

    path: Path
    suffix: str = ".safetensors"

    def __post_init__(self) -> None:
        require_unicode(self.path, what="run_dir")

    @property
    def config(self) -> Path:
        """The resolved configuration and the environment."""
        return self.path / "config.json"

    @property
    def images(self) -> Path:
        """images.json: which images the run began with, by their number and a hash a class."""
        return self.path / "images.json"

    @property
    def split(self) -> Path:
        """split.jsonl: which images the run holds out, a list that every command reads as data."""
        return self.path / RECORD_NAME

    @property
    def metrics(self) -> Path:
        """metrics.csv: one line an epoch."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """What resuming needs: a folder of resume files."""
        return self.path / "checkpoints"

    @property
    def full_rate(self) -> Path:
        """What a longer run needs: a resume file and the best weights of when the rate began to fall."""
        return self.checkpoints / "full_rate"

    @property
    def lessons(self) -> Path:
        """teacher_logits.safetensors: what a teacher that looks once said of every training image."""
        return self.path / "teacher_logits.safetensors"

    @property
    def curves(self) -> Path:
        """curves.png: the metrics as a picture."""
        return self.path / "curves.png"

    @property
    def log_file(self) -> Path:
        """train.log: what was printed, with the time."""
        return self.path / "train.log"

    def weights(self, which: str) -> Path:
        """The model file `last` or `best`."""
        return self.path / f"{which}{self.suffix}"

    def read_config(self, *, given: Container[str] = ()) -> TrainConfig:
        """The configuration of the run that is there, also one that an earlier version began.

        A run folder may come from anybody, so what it says is never a reason to start a program or to ask a
        server (but for published weights, whose addresses and hashes are the package's own): where the data
        is, if it is not on this machine, must be said by who calls.

        Args:
            given: full names of the fields that the caller replaces or does not use, whatever the file says.

        Raises:
            TrainingError: if there is none, or it names data or a model that is not on this machine.
            ConfigError: if a later version wrote it.
        """
        config = self.stored_config()
        for name in ("data", "val_data", "init", "distill.teacher"):
            address = config.settings()[name]
            if name not in given and address is not None and _is_elsewhere(address):
                raise TrainingError(
                    f"{self.config} names {name}={address}; nothing that a file names is executed or "
                    f"fetched, so pass {name} yourself"
                )
        return config

    def stored_config(self) -> TrainConfig:
        """What `read_config` gives, whatever it names: not to be acted on.

        Raises:
            TrainingError: if there is none.
            ConfigError: if a later version wrote it.
        """
        stored = self._read()
        try:
            return TrainConfig.from_dict(stored["config"], version=stored["version"])
        except (ConfigError, TypeError, ValueError, LookupError, OverflowError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConfigError(f"{self.config}: {reason}") from error

    def read_environment(self) -> dict[str, Any]:
        """What the run was started with besides: versions, ranks, time.

        Raises:
            TrainingError: if there is no run.
        """
        return dict(self._read()["environment"])

    def _read(self) -> dict[str, Any]:
        if not self.config.exists():
            raise TrainingError(f"{self.path} holds no run to resume; leave resume out to start one")
        try:
            content = read_json(self.config)
            environment = dict(content["environment"])
            world_size = environment["world_size"]
            if type(world_size) is not int or not 1 <= world_size <= MAX_RANKS:
                raise ValueError(f"it was started on {world_size!r:.40} ranks")
            return {
                "version": int(content.get("version", 1)),
                "config": dict(content["config"]),
                "environment": environment,
                "world_size": world_size,
                "launch": environment.get("launch"),
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise TrainingError(f"{self.config} is not a run's config: {reason}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Own the folder. The system lets go of the lock when the process ends, however it ends.

        On a file system that has no such locks (some network ones) nothing is locked.

        Raises:
            TrainingError: if another process owns it.
            MobileOneError: if the folder cannot be written.
        """
        path = self.path / LOCK_NAME
        lock = FileLock(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except NotImplementedError:
            yield
            return
        except Timeout:
            raise TrainingError(
                f"another process is training in {self.path} (it holds {path}); "
                "wait for it, or choose another run_dir"
            ) from None
        except OSError as error:
            raise MobileOneError(f"cannot write {path}: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()

    def start(self, config: TrainConfig, *, resume: Resume, world_size: int) -> Start:
        """Decide whether to go on with the run that is there, and refuse a folder that must not be used.

        Under torchrun the ranks are started again, with the same command, when one of them died: the run that
        this very launch began is gone on with, whatever `resume` is.

        Args:
            config: of the run.
            resume: whether to go on with the run that is there; `"auto"` does if there is one.
            world_size: number of ranks now.

        Raises:
            ConfigError: if a run is there and `resume` is not set, or it has another configuration.
            TrainingError: if `resume` is True and no run is there.
        """
        if resume is True or self.is_of_this_launch() or (resume == "auto" and self.config.exists()):
            return Start(resumes=True, world_size=self._check_same(config))
        for path in (self.config, self.checkpoints, self.metrics, self.weights("last"), self.weights("best")):
            if path.exists():
                raise ConfigError(
                    f"{self.path} holds a run already ({path.name}); "
                    "go on with it by resume=True, or choose another run_dir"
                )
        return Start(resumes=False, world_size=world_size)

    def is_of_this_launch(self) -> bool:
        """Whether the run that is there was begun by the launch of torchrun that this process is part of."""
        launch = _launch()
        return launch is not None and self.config.exists() and bool(self._read()["launch"] == launch)

    def _check_same(self, config: TrainConfig) -> int:
        """The number of ranks of the run that is there, if it has this configuration."""
        if changes := self.changes(config):
            name, before, now = changes[0]
            raise ConfigError(
                f"the run in {self.path} has {name}={before!r}, got {now!r}"
                + (f" (and {len(changes) - 1} more differ)" if len(changes) > 1 else "")
                + "; resume it with its own settings, or choose another run_dir"
            )
        return int(self._read()["world_size"])

    def changes(self, config: TrainConfig) -> list[tuple[str, Any, Any]]:
        """What a configuration would compute otherwise than the run that is there: field, there, wanted.

        Raises:
            TrainingError: if no run is there.
        """
        # With this schedule the steps before the fall are those of a run of any length.
        prolongs = config.optim.schedule == "wsd" and not config.progressive
        before, now = (_meant(each) for each in (self.stored_config(), config))
        return [
            (name, before[name], now[name])
            for name in now
            if now[name] != before[name] and name not in MAY_CHANGE and not (prolongs and name == "epochs")
        ]

    def claim(self, config: TrainConfig, *, world_size: int) -> None:
        """Write config.json: from here on the folder holds a run."""
        environment = {
            "world_size": world_size,
            "launch": _launch(),
            "mobileone": _version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        self._write(config, environment)

    def note_epochs(self, epochs: int) -> None:
        """Write into config.json that the run has another number of epochs now, if it has."""
        stored = self.stored_config()
        if stored.epochs != epochs:
            self._write(stored.with_values({"epochs": epochs}), self.read_environment())

    def _write(self, config: TrainConfig, environment: Mapping[str, Any]) -> None:
        content = {"version": CONFIG_VERSION, "config": config.to_dict(), "environment": environment}
        text = json.dumps(content, indent=2)
        with atomic_path(self.config) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def note_images(self, images: Mapping[str, Fingerprint]) -> None:
        """Write images.json.

        Args:
            images: by what they are for, "training" and "validation".
        """
        text = json_text({name: one.to_dict() for name, one in images.items()})
        with atomic_path(self.images) as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")

    def changed_images(self, images: Mapping[str, Fingerprint]) -> str | None:
        """How these images differ from those of the run that is there, in words; None if they do not.

        Args:
            images: as for `note_images`.

        Raises:
            FileNotFoundError: if the run is of a version that did not note them.
            TrainingError: if the note is damaged.
        """
        try:
            noted = read_json(self.images)
            before = {name: Fingerprint.from_dict(noted[name]) for name in images}
        except FileNotFoundError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(f"{self.images} is damaged ({reason}); remove it to go on without") from error
        changes = {name: before[name].changes(now) for name, now in images.items()}
        return "; ".join(f"{name}: {words}" for name, words in changes.items() if words) or None

    def sweep(self) -> None:
        """Remove what a killed process left half written. Only the process that owns the folder may."""
        for path in leftovers(self.path):
            path.unlink(missing_ok=True)

    def write_metrics(self, records: Sequence[EpochRecord], *, task: Task = "singlelabel") -> None:
        """Write metrics.csv anew, so that a resumed run never repeats a line."""
        with atomic_path(self.metrics) as temporary:
            temporary.write_text(metrics_table(records, task=task), encoding="utf-8")

    def log(self, line: str, *, show: bool = True) -> None:
        """Append a line to train.log, and print it to stderr above the progress bar.

        A log that cannot be written (a full disk) is no reason to end a run; what it lacks goes to stderr.
        """
        line = printable_lines(line)  # names of images are in it
        try:
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
        except OSError as error:
            line = f"{line} (not in {self.log_file.name}: {error.strerror or error})"
            show = True
        if show:
            tqdm.write(line, file=sys.stderr)


def _is_elsewhere(address: str) -> bool:
    """Whether data or a model would have to be fetched."""
    return is_remote(address) or (is_on_hub(address) and not is_saved_here(address))


def _meant(config: TrainConfig) -> dict[str, Any]:
    """Settings by full name, what is `auto` resolved where it is the task that decides."""
    return config.settings() | {"objective.loss": config.loss, "saving.select": config.select}


def _launch() -> str | None:
    """Which launch of torchrun this process belongs to, through all its restarts; None without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name in (
        None,
        "",
        "none",
    ):  # "none" is torchrun's default; the agent that started us tells launches apart
        return name and f"{platform.node()}:{os.getppid()}"
    return name


def _version() -> str:
    from mobileone import __version__

    return str(__version__)
