"""A run in Weights & Biases, or in its files (`$WANDB_MODE=offline`)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobileone.errors import MissingExtraError
from mobileone.training.watch.tracker import TrackedRun, Tracker, note_name

PROJECT = "mobileone"


class WandbTracker(Tracker):
    """Configuration, and metrics by epoch; who may write is told as its library has it (`wandb login`).

    Args:
        project: `NAME` or `ENTITY/NAME`; None is `mobileone`.
        files: as of `Tracker`.

    Raises:
        MissingExtraError: without the package wandb.
    """

    def __init__(self, project: str | None = None, *, files: bool = False) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingExtraError(
                "tracking in Weights & Biases needs the package wandb, not there; "
                "pip install 'mobileone[wandb]'"
            ) from error
        self._wandb: Any = wandb
        self._entity, _, self._project = (project or PROJECT).rpartition("/")
        self._run: Any = None
        super().__init__(f"wandb:{project or PROJECT}", files=files)

    def begin(self, run: TrackedRun) -> str:
        """Begin the run there, or go on with it."""
        name = run.known_as or uuid.uuid4().hex
        note_name(run.folder, self.address, name)  # a run that is killed right now is the same one too
        self._run = self._wandb.init(
            project=self._project,
            entity=self._entity or None,
            name=run.name,
            id=name,
            resume="allow",
            dir=str(run.folder),
            # What the run prints stays here, and so does the code about it.
            settings=self._wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        self._run.config.update(dict(run.settings), allow_val_change=True)
        self._run.define_metric("*", step_metric="epoch")
        return name

    def send(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Tell the values of an epoch."""
        self._run.log(dict(values) | {"epoch": epoch})

    def keep(self, paths: Sequence[Path]) -> None:
        """Hand files over."""
        name = re.sub(r"[^\w.-]", "_", f"{self._run.name}-{self._run.id[:8]}", flags=re.ASCII)
        artifact = self._wandb.Artifact(name, type="model")
        for path in paths:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def end(self) -> None:
        """Nothing comes any more."""
        self._run.finish()
