"""What trackers of runs have in common: a run goes on whatever becomes of them, and is one run to them."""

from __future__ import annotations

import json
import re
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from mobileone.atomic import atomic_path
from mobileone.errors import MobileOneWarning
from mobileone.outside_text import printable
from mobileone.regular_file import read_json
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import EpochRecord, FitResult, named_values

RECORD_NAME = "tracked.json"
"""In a run's folder: what it is called in each tracker, so that a resumed run is the same one there."""
KEPT_FILES = ("best.safetensors", "best.pt", "config.json", "metrics.csv", "curves.png")
WAIT_S, WAIT_AT_END_S = 10.0, 60.0
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run, as a tracker is told of it.

    Attributes:
        name: for people.
        folder: of the run.
        settings: the configuration, by full name.
        known_as: its name in the tracker, from before; None for one that begins.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    known_as: str | None


class Tracker(Callback):
    """Tells a service of every epoch, under the names of metrics.csv, off the training's own thread.

    Training waits for it a few seconds at most. What cannot be told is kept and tried again after the next
    epoch; that something could not is said once, by a `MobileOneWarning`, and the run goes on.

    Args:
        address: which service, for people: `mlflow:URI` or `wandb:PROJECT`.
        files: whether to hand over the run's best weights, configuration, metrics and curves at its end.

    Attributes:
        wait_s: how long training waits after an epoch, and at most at the start.
        wait_at_end_s: and at the end, if nothing went wrong before.
    """

    wait_s = WAIT_S
    wait_at_end_s = WAIT_AT_END_S

    def __init__(self, address: str, *, files: bool = False) -> None:
        self.address = without_login(address)
        self._files = files
        self._calls: deque[Callable[[], None]] = deque()
        self._worker: Thread | None = None
        self._failure: Exception | None = None
        self._said = False

    def begin(self, run: TrackedRun) -> str:
        """Begin the run there, or go on with it; its name there."""
        raise NotImplementedError

    def send(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Tell the values of an epoch."""
        raise NotImplementedError

    def keep(self, paths: Sequence[Path]) -> None:
        """Hand files over."""
        raise NotImplementedError

    def end(self) -> None:
        """Nothing comes any more."""
        raise NotImplementedError

    def on_start(self, run_dir: Path, config: TrainConfig, *, step: int) -> None:
        """Begin, or go on with the run that was begun from this folder."""
        self._folder = run_dir
        run = TrackedRun(
            name="/".join(run_dir.resolve().parts[-2 if run_dir.name.startswith("fold-") else -1 :]),
            folder=run_dir,
            settings=config.settings(),
            known_as=known_name(run_dir, self.address) if step else None,
        )
        self._do(lambda: note_name(run_dir, self.address, self.begin(run)))

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Tell the epoch."""
        values = named_values(record)
        self._do(lambda: self.send(values, epoch=record.epoch))

    def on_end(self, result: FitResult) -> None:
        """Hand over what was asked for, and end."""
        paths = [path for name in KEPT_FILES if (path := self._folder / name).is_file()]
        if self._files:
            self._do(lambda: self.keep(paths))
        self._do(self.end, wait_s=self.wait_s if self._said else self.wait_at_end_s)

    def _do(self, call: Callable[[], None], *, wait_s: float | None = None) -> None:
        """Have it done after what is waiting already, and wait for that a little."""
        self._calls.append(call)
        patience = self.wait_s if wait_s is None else wait_s
        if self._worker is None or not self._worker.is_alive():
            self._failure = None
            self._worker = Thread(target=self._work, daemon=True, name=f"tracker {self.address}")
            self._worker.start()
        elif wait_s is None:
            return  # it hangs, and has been waited for
        self._worker.join(patience)
        if self._worker.is_alive():
            self._say(f"does not answer within {patience:g} s")
        elif self._failure is not None:
            self._say(f"cannot be told ({self._reason(self._failure)})")

    def _work(self) -> None:
        while self._calls:
            try:
                self._calls[0]()
            except Exception as error:  # the services' own, of no common base
                self._failure = error
                return
            self._calls.popleft()

    def _say(self, what: str) -> None:
        if not self._said:
            self._said = True
            warnings.warn(
                f"the tracker {self.address} {what}; the run goes on, and tells it again after each epoch",
                MobileOneWarning,
                stacklevel=4,
            )

    def _reason(self, error: Exception) -> str:
        return printable(without_login(" ".join(str(error).split()))[:200]) or type(error).__name__


def without_login(text: str) -> str:
    """A text whose addresses name no user and no password.

    >>> without_login("mlflow:https://me:secret@host/path")
    'mlflow:https://host/path'
    """
    return _LOGIN.sub("", text)


def known_name(run_dir: Path, address: str) -> str | None:
    """What a run is called in a tracker; None if it is not known there."""
    try:
        name = read_json(run_dir / RECORD_NAME)[address]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) else None


def note_name(run_dir: Path, address: str, name: str) -> None:
    """Keep it for `known_name`."""
    try:
        names = dict(read_json(run_dir / RECORD_NAME))
    except (OSError, ValueError, TypeError):
        names = {}
    if names.get(address) == name:
        return
    with atomic_path(run_dir / RECORD_NAME) as temporary:
        temporary.write_text(json.dumps(names | {address: name}, indent=2) + "\n", encoding="utf-8")
