"""A training run from its configuration to its folder of results. The loop itself is loop.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import nn

from mobileone.data.fingerprint import Fingerprint
from mobileone.data.source import ImageSource, notes_of
from mobileone.data.split_record import write_sides
from mobileone.errors import ConfigError, TrainingError
from mobileone.ranks.distributed import Distributed, distributed
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.log_lines import start_line
from mobileone.training.run.loop import TrainLoop
from mobileone.training.run.progress import RunProgress
from mobileone.training.run.run_dir import Resume, RunDir
from mobileone.training.run.run_sets import Division, open_sets
from mobileone.training.run.savepoints import Savepoints
from mobileone.training.run.trainer import Trainer, compute_settings
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import FitResult


def fit(
    config: TrainConfig | None,
    *,
    run_dir: str | Path,
    resume: Resume = False,
    callbacks: Sequence[Callback] = (),
    teacher: nn.Module | None = None,
    progress: bool = True,
    allow_changed_data: bool = False,
    notes: Sequence[str] = (),
) -> FitResult:
    """Train as `config` says; under torchrun as one of its ranks, else alone.

    After every epoch the averaged weights are evaluated, and the folder has config.json, metrics.csv,
    train.log, curves.png and the models `last` and `best` (averaged weights; best by top-1). Resume files in
    checkpoints/ are written then, and within an epoch as `config.saving.checkpoint_every` says. On SIGTERM or
    SIGUSR1 the run is saved at the next step and ends (docs/fault_tolerance.md). On a CPU the process keeps
    memory that is freed until then (`mobileone.heap.kept_heap`).

    Args:
        config: the run; None, with `resume=True`, takes the stored one.
        run_dir: the folder to write, without a run in it. To resume, every rank must see it.
        resume: go on with the run in `run_dir` from its newest resume file; the result is that of a run never
            interrupted, to the last bit on a CPU. `"auto"` starts one if there is none. Ranks that torchrun
            starts again after a fault resume by themselves.
        callbacks: told what happens, on the main rank.
        teacher: a module to learn from as `config.distill` says, instead of one that is named there. It is
            put into eval mode. A run that is resumed needs it again.
        progress: whether to print epochs and a bar on stderr; train.log is written anyway.
        allow_changed_data: go on with images that are not those the run began with; in the epoch under way
            some may then come twice, or not at all.
        notes: lines for the log, on how the configuration came about (see `adapt`).

    Raises:
        ConfigError: if `run_dir` holds a run and `resume` is not set, or holds another configuration.
        TrainingError: if there is nothing to resume, the images have changed meanwhile, another process
            trains there, too many losses are not finite, memory runs out, or another rank is lost.
        PreemptedError: if it was told to stop; it is saved.
        DataError: if the data cannot be used.
        CheckpointError: if no resume file can be read.
        MobileOneError: if the folder cannot be written.
    """
    if config is None and resume is not True:
        raise ConfigError("a new run needs a config; pass one, or resume=True to go on with a stored run")
    config = config or RunDir(Path(run_dir)).read_config()
    files = RunDir(Path(run_dir), config.saving.weights_suffix)
    timeout_s = config.compute.rank_timeout_s
    with (
        distributed(config.compute.device, timeout_s=timeout_s) as dist,
        compute_settings(config, dist.device),
    ):
        # A function of its own, so that the wrapped network is gone when the ranks part.
        return _train(
            config,
            files,
            dist,
            resume=resume,
            callbacks=callbacks,
            teacher=teacher,
            show=progress and dist.is_main,
            allow_changed_data=allow_changed_data,
            notes=notes,
        )


def _train(
    config: TrainConfig,
    files: RunDir,
    dist: Distributed,
    *,
    resume: Resume,
    callbacks: Sequence[Callback],
    teacher: nn.Module | None,
    show: bool,
    allow_changed_data: bool,
    notes: Sequence[str],
) -> FitResult:
    """Set everything up on this rank, go back to where the run was, and start the loop."""
    decide = lambda: files.start(config, resume=resume, world_size=dist.world_size)  # noqa: E731
    start = dist.from_main(decide)
    train_set, val_set, division = open_sets(config, dist=dist, record=files.split if start.resumes else None)

    def log(line: str) -> None:
        if dist.is_main:
            files.log(line, show=show)

    with ExitStack() as owned:
        step_images = config.batch_size * start.world_size
        trainer = Trainer(config, train_set, dist, step_images=step_images, teacher=teacher, log=log)
        owned.callback(trainer.loader.close)
        progress = RunProgress(
            steps_per_epoch=trainer.steps_per_epoch, step_images=trainer.step_images, select=config.select
        )
        dist.from_main(lambda: owned.enter_context(files.lock()) if dist.is_main else None)
        start = dist.from_main(decide)  # again, now that nobody else can change it
        savepoints = Savepoints(trainer, progress, files, log=log)
        images = {"training": train_set, "validation": val_set}
        if start.resumes:
            dist.from_main(lambda: _check_images(files, images, log, allow_changed=allow_changed_data))
            savepoints.restore()
            dist.from_main(lambda: files.note_epochs(config.epochs))
        else:
            dist.from_main(lambda: _begin(files, config, images, division, world_size=dist.world_size))
        said = () if division is None else division.notes
        for note in (*notes, *said, *notes_of(train_set), *notes_of(val_set)):
            log(note)
        log(start_line(trainer, progress, num_val=len(val_set), started_with=start.world_size))
        told = callbacks if dist.is_main else ()
        loop = TrainLoop(trainer, progress, savepoints, files, val_set, log=log, show=show, callbacks=told)
        owned.enter_context(loop.stop.noted())
        owned.enter_context(_explained(dist, log))
        return loop.run()


def _begin(
    files: RunDir,
    config: TrainConfig,
    images: Mapping[str, ImageSource],
    division: Division | None,
    *,
    world_size: int,
) -> None:
    """Note what the run is; the configuration last, for it makes the folder a run."""
    if division is None:
        files.split.unlink(missing_ok=True)
    else:
        write_sides(files.split, division.whole, division.is_val)
    files.note_images({name: Fingerprint.of(source) for name, source in images.items()})
    files.claim(config, world_size=world_size)


def _check_images(
    files: RunDir, images: Mapping[str, ImageSource], log: Callable[[str], None], *, allow_changed: bool
) -> None:
    """Refuse to go on with other images than the run began with, or note that it does."""
    now = {name: Fingerprint.of(source) for name, source in images.items()}
    try:
        changes = files.changed_images(now)
    except FileNotFoundError:
        log(f"the run has no {files.images.name}, so its images cannot be compared; they are noted now")
        files.note_images(now)
        return
    if changes is None:
        return
    if not allow_changed:
        raise TrainingError(
            f"the images are not those that the run in {files.path} began with: {changes}; resume it with "
            "the same ones, or pass allow_changed_data=True: some may then come twice in the epoch under "
            "way, or not at all"
        )
    log(f"going on with other images: {changes}")
    files.note_images(now)


@contextmanager
def _explained(dist: Distributed, log: Callable[[str], None]) -> Iterator[None]:
    """Say how a run goes on that ended by an interrupt, or because another rank has gone."""
    try:
        yield
    except KeyboardInterrupt:
        log("interrupted; resume=True goes on from the newest checkpoint")
        raise
    except RuntimeError as error:
        if dist.world_size == 1 or not is_lost_rank(error):
            raise
        reason = str(error).strip().rpartition("\n")[2]
        raise TrainingError(
            f"rank {dist.rank} lost another rank ({reason}); the run goes on from its newest checkpoint: "
            "by itself under torchrun --max-restarts N, else by resume=True"
        ) from error


def is_lost_rank(error: RuntimeError) -> bool:
    """Whether the error is what a process group says when another of its processes has gone."""
    text = str(error)
    return any(sign in text for sign in ("gloo", "NCCL", "Connection closed by peer", "Connection reset"))
