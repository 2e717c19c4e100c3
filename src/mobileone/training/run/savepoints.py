"""The resume files of a run: when one is due, what is in it, and going on from the newest."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobileone.atomic import atomic_path
from mobileone.checkpoint.rotation import NewestResumeFile, Rotation
from mobileone.checkpoint.store import load_state
from mobileone.errors import MobileOneError, TrainingError
from mobileone.training.run.progress import RunProgress
from mobileone.training.run.random_state import random_state, seed_everything, set_random_state
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.trainer import Trainer

RETRY_S = 60.0
"""Time until a checkpoint that could not be written is tried again."""


class Savepoints:
    """Where a run can be taken up again.

    Args:
        trainer: the network in training.
        progress: of the run.
        files: its folder.
        log: takes a line of the log.
    """

    def __init__(
        self, trainer: Trainer, progress: RunProgress, files: RunDir, *, log: Callable[[str], None]
    ) -> None:
        self.trainer, self.progress, self.files, self.log = trainer, progress, files, log
        self.dist, self.interval = trainer.dist, trainer.config.saving.interval
        self.rotation = Rotation(files.checkpoints, keep=trainer.config.saving.keep_checkpoints)
        self.full_rate = Rotation(files.full_rate, keep=1)
        self._saved_at = time.monotonic()
        self._saved_step = self._tried_step = 0

    @property
    def is_saved(self) -> bool:
        """Whether nothing was trained since the newest."""
        return self._saved_step == self.progress.step

    @property
    def age_s(self) -> float:
        """Seconds since the newest was written, or since the start."""
        return time.monotonic() - self._saved_at

    def is_due(self) -> bool:
        """Whether `checkpoint_every` has passed, by this rank's clock."""
        return self.interval.is_due(seconds=self.age_s, steps=self.progress.step, before=self._tried_step)

    def save(self) -> None:
        """Write a resume file.

        Raises:
            MobileOneError: if it cannot be written, on every rank; the files before it stay.
        """
        progress = self.progress
        state = progress.state_dict() | {
            "trainer": self.trainer.state_dict() | {"num_skipped": progress.num_skipped},
            "random": self.dist.gather(random_state()),
        }
        self.dist.from_main(lambda: self._write(state))
        self._saved_at, self._saved_step, self._tried_step = time.monotonic(), progress.step, progress.step

    def _write(self, state: dict[str, Any]) -> None:
        now, step = self.progress.now, self.progress.step
        if not now.steps and now.epoch and now.epoch == self.trainer.config.cooldown_epoch:
            # First, so that the newest file is never past the only one that a longer run can start from.
            self._keep_full_rate(state, now.epoch, step)
        self.rotation.save(state, epoch=now.epoch, step=step)

    def _keep_full_rate(self, state: dict[str, Any], epoch: int, step: int) -> None:
        best = self.files.weights("best")
        if best.exists():
            _copy(best, self.files.full_rate / best.name)
        self.full_rate.save(state, epoch=epoch, step=step)

    def try_to_save(self) -> None:
        """Save, but go on without if the disk is full, say: there is time to mend that, and to try again."""
        try:
            self.save()
        except MobileOneError as error:
            self.log(f"no checkpoint at step {self.progress.step}, the run goes on without: {error}")
            self._saved_at = time.monotonic() - max((self.interval.seconds or 0.0) - RETRY_S, 0.0)
            self._tried_step = self.progress.step

    def restore(self) -> None:
        """Take over the newest resume file that is whole; none yet is the start.

        Raises:
            CheckpointError: if there are some and none can be used.
            TrainingError: if it is not this run's.
        """
        found: list[NewestResumeFile] = []  # on the main rank, which has read it
        path = self.dist.from_main(lambda: self._find(found))
        if path is None:
            return
        state = found[0].state if found else load_state(path)
        try:
            self.trainer.load_state_dict(state["trainer"])
            self.progress.load_state_dict(state)
            self.progress.num_skipped = int(state["trainer"]["num_skipped"])
            self._restore_random(state["random"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(f"cannot resume from {path}: not this run's state ({reason})") from error
        self._saved_step = self._tried_step = self.progress.step

    def _find(self, found: list[NewestResumeFile]) -> Path | None:
        """The newest file's path; what is in it is appended to `found`."""
        self.files.sweep()
        self.rotation.sweep()
        newest = self.rotation.newest()
        if newest is None:
            return None
        if self.trainer.config.cooldown_epoch is not None:
            newest = self._before_the_fall(newest, self.trainer.config.cooldown_epoch)
        found.append(newest)
        for line in newest.damaged:
            self.log(f"{line}; falling back to the one before it")
        return newest.path

    def _before_the_fall(self, newest: NewestResumeFile, cooldown_epoch: int) -> NewestResumeFile:
        """Where a run of this many epochs can go on: at the newest file, or where the rate began to fall.

        Raises:
            TrainingError: if the run has gone further at its whole rate than it should have, or kept no file
                of that rate.
        """
        self.full_rate.sweep()
        fell = self.full_rate.newest()
        if fell is None:
            now = newest.state["progress"]
            gone = int(now["epoch"]) + (int(now["images"]) > 0)
            stored = self.files.stored_config()
            if gone > (stored.cooldown_epoch or 0):  # it has begun to fall
                if stored.epochs == self.trainer.config.epochs:
                    return newest
                raise TrainingError(
                    f"the run in {self.files.path} has come into the fall of its rate over "
                    f"epochs={stored.epochs}, and has no file from before, as one that falls from the first "
                    "step; go on with it as long as that, or choose another run_dir"
                )
        else:
            gone = int(fell.state["progress"]["epoch"])
            if gone == cooldown_epoch:
                return newest
        if gone > cooldown_epoch:
            least = next(
                epochs
                for epochs in itertools.count(gone + 1)
                if (replace(self.trainer.config, epochs=epochs).cooldown_epoch or 0) >= gone
            )
            raise TrainingError(
                f"with epochs={self.trainer.config.epochs} the rate would have begun to fall after epoch "
                f"{cooldown_epoch}, and the run has come to epoch {gone} at its whole rate; epochs must be "
                f"at least {least}"
            )
        if fell is None:
            if gone == cooldown_epoch and not int(newest.state["progress"]["images"]):
                self._keep_full_rate(newest.state, gone, gone * self.progress.steps_per_epoch)
            return newest
        best = self.files.full_rate / self.files.weights("best").name
        if best.exists():
            _copy(best, self.files.weights("best"))
        self.log(f"going back to the end of epoch {gone}, before the rate fell, to train for longer")
        # From here on it is an ordinary file of a run that has not come to its fall.
        path = self.rotation.save(fell.state, epoch=gone, step=gone * self.progress.steps_per_epoch)
        fell.path.unlink()
        return replace(fell, path=path)

    def _restore_random(self, states: Sequence[dict[str, Any]]) -> None:
        if len(states) == self.dist.world_size:
            set_random_state(states[self.dist.rank])
        else:  # other ranks than before have no state of their own to go on with
            seed_everything(self.trainer.config.seed + 1_000_003 * self.progress.step + self.dist.rank)


def _copy(source: Path, target: Path) -> None:
    """A whole copy, or none."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
