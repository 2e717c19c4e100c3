"""A teacher that looks once: what it says of every training image, by all ranks, kept in the run's folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mobileone.atomic import atomic_path
from mobileone.checkpoint.safetensors_header import read_header
from mobileone.data.subset import image_name
from mobileone.errors import CheckpointError, TrainingError
from mobileone.input_spec import size_text
from mobileone.progress_bar import progress_bar
from mobileone.training.method.lessons import Lessons
from mobileone.training.method.taught import FEATURES, LOGITS, Taught
from mobileone.training.method.teacher import SourceTeacher
from mobileone.training.run.progress import RunProgress
from mobileone.training.run.run_dir import RunDir
from mobileone.training.run.trainer import Trainer


class Teaching:
    """Gives a trainer's step the lessons of its teacher.

    Args:
        trainer: of a configuration whose teacher looks once.
        progress: of the run; told of images that cannot be read.
        files: the run's folder.
        log: takes a line of the log.
        show: whether to draw a bar on stderr.
        check_stop: called between batches; may raise, and nothing is kept then.
    """

    def __init__(
        self,
        trainer: Trainer,
        progress: RunProgress,
        files: RunDir,
        *,
        log: Callable[[str], None],
        show: bool,
        check_stop: Callable[[], None],
    ) -> None:
        self.trainer, self.progress, self.files = trainer, progress, files
        self.log, self.show, self.check_stop = log, show, check_stop

    def __call__(self, teacher: SourceTeacher) -> None:
        """Read them, if they are in the folder, or compute and write them.

        A file of another teacher, other views or other images is written anew, but not in the middle of a
        run, where a teacher stays the same.

        Raises:
            TrainingError: if the run has begun with another teacher, a logit is not finite, or no image can
                be read.
            BadImageError: on an unreadable image under `"error"`.
            MobileOneError: if the folder cannot be written.
        """
        dist, path = self.trainer.dist, self.files.lessons
        key = self._key(teacher)
        shapes = self._shapes()
        if dist.from_main(lambda: self._is_there(key)):
            kept = load_file(path) if dist.is_main else {}
            tensors = {name: kept[name] if kept else torch.empty(shape) for name, shape in shapes.items()}
            dist.broadcast_(tensors.values())
            self.log(f"the teacher's logits are those of {path.name}")
        else:
            tensors = self._computed(teacher)
            dist.from_main(lambda: _write(path, tensors, key))
        self.trainer.step.lessons = Lessons(Taught(tensors[LOGITS], tensors.get(FEATURES)))

    def _key(self, teacher: SourceTeacher) -> dict[str, str]:
        """What the logits depend on."""
        source = self.trainer.train_set
        images = hashlib.sha256()
        for index in range(len(source)):
            images.update(f"{image_name(source, index)}\n".encode())
        return {
            "teacher": teacher.digest(),
            "views": self.trainer.config.distill.views,
            "images": images.hexdigest(),
        }

    def _is_there(self, key: dict[str, str]) -> bool:
        """Whether the folder has these logits.

        Raises:
            TrainingError: if it has another teacher's, and the run has begun with them.
        """
        path = self.files.lessons
        if not path.exists():
            return False
        try:
            tensors, found = read_header(path, size=path.stat().st_size)
        except CheckpointError as error:
            self.log(f"{error}; the teacher looks again")
            return False
        begun = self.progress.step > 0
        if begun and (found.get("teacher"), found.get("views")) != (key["teacher"], key["views"]):
            raise TrainingError(
                f"{path} is of another teacher than distill.teacher is now; resume the run with the one that "
                "it began with, or remove the file to go on with the new one"
            )
        return found == key and all(
            tensors.get(name) == (shape, "F32") for name, shape in self._shapes().items()
        )

    def _shapes(self) -> dict[str, tuple[int, int]]:
        """Of the tensors in the file."""
        source, teacher = self.trainer.train_set, self.trainer.teacher
        assert teacher is not None
        shapes = {LOGITS: (len(source), len(source.classes))}
        if teacher.num_features is not None:
            shapes[FEATURES] = (len(source), teacher.num_features)
        return shapes

    def _computed(self, teacher: SourceTeacher) -> dict[str, Tensor]:
        """What it says of all images, float32 on the CPU; logits are NaN where one could not be read.

        Every rank computes its share, and all get all.
        """
        started = time.perf_counter()
        trainer, dist, config = self.trainer, self.trainer.dist, self.trainer.config
        source, spec = trainer.train_set, teacher.input_spec
        said = {name: torch.zeros(shape) for name, shape in self._shapes().items()}
        seen = torch.zeros(len(source))
        loader = trainer.plain_views(spec)
        try:
            for batch in progress_bar(
                loader, title="teacher", unit="batch", hidden=not self.show, total=len(loader)
            ):
                self.progress.now.bad += batch.bad
                if len(batch):
                    pixels = batch.images.to(dist.device, non_blocking=True)
                    views = [pixels, pixels.flip(-1)] if config.distill.views == "mirrored" else [pixels]
                    heard = [teacher(view).tensors() for view in views]
                    for name, value in said.items():
                        value[batch.indices] = torch.stack([one[name] for one in heard]).mean(0).cpu()
                    seen[batch.indices] = 1
                self.check_stop()
        finally:
            loader.close()
        # Where a rank has none there are zeros, so the sum is everybody's.
        said = {name: dist.reduce_sum(value) for name, value in said.items()}
        logits, read = said[LOGITS], dist.reduce_sum(seen) > 0
        if not read.any():
            raise TrainingError("no training image could be read, so the teacher has nothing to say")
        if not all(value.isfinite().all() for value in said.values()):
            raise TrainingError(
                "a logit or feature of the teacher is NaN or infinite; its weights, or the precision that it "
                "computes in, are no use (amp=off is float32)"
            )
        logits[~read] = torch.nan
        what = f"{config.distill.views} views of {size_text(spec.size)} px, {spec.view}"
        took = time.perf_counter() - started
        self.log(f"the teacher looked at {int(read.sum())} images once ({what}) in {took:.1f} s")
        right = _share_right(logits, trainer, read)
        if right is not None:
            self.log(f"the teacher's first of the {logits.shape[1]} classes is the label in {right:.1f} %")
        return said


def _share_right(logits: Tensor, trainer: Trainer, read: Tensor) -> float | None:
    """Training images whose label the teacher would give, %; None where an image has several."""
    labels = torch.as_tensor(trainer.train_set.labels)
    if labels.ndim == 2:
        return None
    return 100 * float((logits.argmax(1) == labels)[read].float().mean())


def _write(path: Path, tensors: dict[str, Tensor], key: dict[str, str]) -> None:
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=key)
