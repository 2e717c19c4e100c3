"""Batches of uint8 images from worker processes: the same ones for any number of workers and ranks.

The main process decides what is read (`Request`: indices, epoch and transform) and the workers read it, so
that persistent workers need no news of a new epoch or image size. Workers are started by a fork server, a
fresh process in which nothing runs: a fork of the trainer itself, with the threads of OpenMP, CUDA and the
process group in it, may deadlock. As with every start method but fork, a script that uses workers needs an
`if __name__ == "__main__"` guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mobileone.data.augment import TrainTransform
from mobileone.data.pixels import to_tensor
from mobileone.data.pool import start_method, start_worker
from mobileone.data.requests import EvalRequests, Order, Request, TrainRequests, seeded_generator
from mobileone.data.sampling import Sampling, epoch_order
from mobileone.data.source import ImageSource, StreamedSource
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import sides
from mobileone.processor import num_cores
from mobileone.ranks.launch import ranks_here

OnBadImage = Literal["error", "skip"]

MAX_SUBSTITUTES = 16
MAX_WORKERS = 8  # by default; more keep up with several GPUs only
MAX_DEATHS = 3  # of workers in a pass; more is no accident


@dataclass(frozen=True, slots=True)
class BadImage:
    """An image that could not be decoded, and why."""

    path: str
    reason: str


@dataclass(slots=True, eq=False)
class Batch:
    """Images of one step.

    Attributes:
        images: uint8 (N, C, H, W), laid out channels last, as decoders write and networks read them.
        labels: class indices, int64 (N,); with several labels an image 1 for each that it has, 0 for the
            others, float32 (N, K).
        indices: where in the source each image is, int64 (N,).
        bad: images that were found undecodable on the way, and skipped.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    bad: list[BadImage] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory, for asynchronous copies to a GPU."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.indices.pin_memory(), self.bad)


class BatchLoader:
    """Iterates over `Batch`; made by `train_loader` or `eval_loader`. `len()` is this rank's batches a pass.

    Attributes:
        num_workers: reading processes; 0 where batches are read in this one.

    Iterating raises:
        BadImageError: on an image that cannot be decoded, if such images are errors, or if a whole run of
            them leaves nothing to take instead.
        DataError: if a shard cannot be read; if a worker process died, and nobody is told of it
            (`on_dead_worker`) or it is the fourth.
    """

    def __init__(
        self,
        reader: _Reader,
        requests: TrainRequests | EvalRequests,
        *,
        num_workers: int | None,
        pin_memory: bool,
        on_dead_worker: Callable[[str], None] | None,
    ) -> None:
        if num_workers is None:
            num_workers = default_workers()
        if num_workers < 0:
            raise ConfigError(f"num_workers must be 0 (read in this process) or more, got {num_workers}")
        self.num_workers = num_workers = min(num_workers, len(requests))
        self._requests = requests
        self._start = 0
        self._on_dead_worker = on_dead_worker
        # One request is one item: batches are made by the reader, so `batch_size=None` and no collation.
        self._loader: DataLoader[Batch | _Failure] = DataLoader(
            reader,
            batch_size=None,
            sampler=requests,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            pin_memory=pin_memory and torch.accelerator.is_available(),
            worker_init_fn=start_worker if num_workers else None,
            multiprocessing_context=start_method() if num_workers else None,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # else every pass draws from, and so changes, the global generator
        )

    def __len__(self) -> int:
        return len(self._requests)

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """In training, use that epoch's order, randomness and transform from the next pass on.

        Args:
            epoch: 0 for the first.
            start: batches at the beginning of the epoch to leave out; nothing of them is read.
        """
        self._requests.epoch = epoch
        self._start = start

    def __iter__(self) -> Iterator[Batch]:
        done = deaths = 0
        while True:
            self._requests.start = self._start + done
            try:
                for item in self._loader:
                    if isinstance(item, _Failure):
                        raise item.error
                    done += 1
                    yield item
                return
            except DataError:
                self.close()
                raise
            except (RuntimeError, OSError, EOFError) as error:
                self.close()
                if not self._loader.num_workers or not _is_from_a_dead_worker(error):
                    raise
                reason = (
                    f"a data worker process died ({' '.join(str(error).split()) or type(error).__name__})"
                )
            # Workers remember nothing, so new ones go on where the dead one left the others waiting.
            deaths += 1
            if self._on_dead_worker is None or deaths > MAX_DEATHS:
                raise DataError(
                    f"{reason}; often memory or /dev/shm ran out, or a script lacks its "
                    "`if __name__ == '__main__'` guard; try fewer workers, or num_workers=0"
                )
            self._on_dead_worker(f"{reason}; new ones go on with batch {self._start + done + 1}")

    def close(self) -> None:
        """End the worker processes; the next pass starts new ones.

        Dropping the last reference does that too, but where the garbage collector finds the loader in a cycle
        (a traceback's, say), torch waits five seconds for every worker.
        """
        iterator, self._loader._iterator = self._loader._iterator, None
        if self._loader.num_workers and iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]  # of the many-process iterator


def default_workers() -> int:
    """Reading processes that suit this rank: its share of the cores that may be used, 1 to 8."""
    return min(max(num_cores() // ranks_here(), 1), MAX_WORKERS)


def train_loader(
    source: ImageSource,
    transform: TrainTransform | Callable[[int], TrainTransform],
    *,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int | None = 0,
    on_bad_image: OnBadImage = "error",
    pin_memory: bool = False,
    step_size: int | None = None,
    on_dead_worker: Callable[[str], None] | None = None,
    sampling: Sampling = "shuffle",
    effective_beta: float = 0.999,
) -> BatchLoader:
    """Shuffled, augmented batches; the same number on every rank.

    A pass is a permutation of the source (a `StreamedSource` has one of its own), cut into steps of
    `batch_size · world_size` images; an incomplete
    last step is dropped, unless it is the only one. Every image's randomness comes from (seed, epoch, index)
    alone, and a step's images do not depend on how many ranks share them.

    Args:
        source: labelled images.
        transform: what to do to an image, or a function from the epoch to it (for a rising image size, say),
            which is called in this process, once a pass.
        batch_size: images a step on this rank.
        seed: of order and augmentation.
        rank: this process, 0 … world_size − 1.
        world_size: number of processes that train together.
        num_workers: reading processes, kept over epochs; 0 reads in this one, None is `default_workers()`.
        on_bad_image: "error" raises; "skip" takes the next readable image (index + 1, …, at most 16 tries)
            and reports the bad ones in `Batch.bad`.
        pin_memory: copy batches to page-locked memory, where there is an accelerator.
        step_size: images a step over all ranks, where it is not `batch_size · world_size`: they are dealt out
            as evenly as they go, so ranks may differ by one.
        on_dead_worker: told, in a line, of a worker that died; new ones then go on where it was, up to three
            times a pass. None raises at once.
        sampling: `"balanced"` or `"effective"` make a pass of as many images in which rare classes come more
            often (`image_weights`).
        effective_beta: of the latter.

    Raises:
        ConfigError: on values out of range, or sampling from shards that come in an order of their own.
        DataError: if there are fewer images than ranks.
    """
    order: Order | None = epoch_order(source, sampling=sampling, beta=effective_beta)
    tells = isinstance(source, StreamedSource)
    if isinstance(source, StreamedSource):
        order = source.epoch_order
    requests = TrainRequests(
        len(source), transform, batch_size, seed, rank, world_size, step_size, order, tells
    )
    return BatchLoader(
        _Reader(source, seed, on_bad_image),
        requests,
        num_workers=num_workers,
        pin_memory=pin_memory,
        on_dead_worker=on_dead_worker,
    )


def eval_loader(
    source: ImageSource,
    transform: EvalTransform,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int | None = 0,
    on_bad_image: OnBadImage = "error",
    pin_memory: bool = False,
    on_dead_worker: Callable[[str], None] | None = None,
) -> BatchLoader:
    """Every image exactly once over all ranks, in order: rank r takes r, r + world_size, …

    Nothing is padded: ranks may differ by one image, and by one batch; a rank may have none. With
    `on_bad_image="skip"` undecodable images are left out and reported in `Batch.bad`, so a batch may be
    short, even empty. The other arguments and errors are those of `train_loader`.
    """
    tells = isinstance(source, StreamedSource)
    requests = EvalRequests(len(source), transform, batch_size, rank, world_size, tells)
    return BatchLoader(
        _Reader(source, 0, on_bad_image),
        requests,
        num_workers=num_workers,
        pin_memory=pin_memory,
        on_dead_worker=on_dead_worker,
    )


@dataclass(frozen=True, slots=True)
class _Failure:
    """A worker's error as a value: exceptions raised across processes arrive as a page of traceback."""

    error: DataError


class _Reader(Dataset["Batch | _Failure"]):
    """What runs in the workers: requests in, batches out."""

    def __init__(self, source: ImageSource, seed: int, on_bad_image: OnBadImage) -> None:
        if on_bad_image not in ("error", "skip"):
            raise ConfigError(f"on_bad_image must be error or skip, got {on_bad_image!r}")
        self.source = source
        self.seed = seed
        self.on_bad_image = on_bad_image

    def __getitem__(self, request: Request) -> Batch | _Failure:
        images: list[Tensor] = []
        indices: list[int] = []
        bad: list[BadImage] = []
        if request.soon and isinstance(self.source, StreamedSource):
            self.source.expect(request.soon)
        for index in request.indices:
            try:
                used, image = self._read(request, index, bad)
            except BadImageError as error:
                if self.on_bad_image == "error" or request.epoch is not None:
                    return _Failure(error)
                continue
            except DataError as error:  # not one image, but where they are
                return _Failure(error)
            images.append(image)
            indices.append(used)
        labels = torch.from_numpy(np.asarray(self.source.labels[np.array(indices, np.int64)]))
        return Batch(
            _stack(images, sides(request.transform.size)),
            labels.float() if labels.ndim == 2 else labels.long(),
            torch.tensor(indices, dtype=torch.int64),
            bad,
        )

    def _read(self, request: Request, index: int, bad: list[BadImage]) -> tuple[int, Tensor]:
        """The image, or in training the next one that can be read, and its index."""
        substitutes = MAX_SUBSTITUTES if self.on_bad_image == "skip" and request.epoch is not None else 0
        for candidate in range(index, index + substitutes + 1):
            candidate %= len(self.source)
            try:
                return candidate, self._transform(request, candidate)
            except BadImageError as error:
                name, message = self.source.name(candidate), str(error)
                bad.append(BadImage(name, message.removeprefix(f"{name}: ")))
        if substitutes:
            message += f" (and the {substitutes} images before it are unreadable too; clean the data set)"
        raise BadImageError(message)

    def _transform(self, request: Request, index: int) -> Tensor:
        image = self.source.read(index)
        if isinstance(request.transform, EvalTransform):
            return to_tensor(request.transform(image))
        assert request.epoch is not None
        return request.transform(image, seeded_generator(self.seed, request.epoch, index))


def _stack(images: list[Tensor], size: tuple[int, int]) -> Tensor:
    """(N, C, H, W), channels last: of images laid out like that, each is one copy of a block of memory."""
    if not images:
        return torch.empty(0, 3, *size, dtype=torch.uint8)
    packed = torch.stack([image.permute(1, 2, 0) for image in images])  # (N, H, W, C)
    return packed.permute(0, 3, 1, 2)


def _is_from_a_dead_worker(error: Exception) -> bool:
    """Torch's own report, or a connection that broke while a batch was fetched; not a worker's exception.

    Where memory is pinned a thread fetches batches, and may be what the broken connection ends.
    """
    if isinstance(error, RuntimeError):
        return str(error).startswith(("DataLoader worker (pid", "Pin memory thread exited"))
    return not str(error).startswith("Caught ")


def _as_it_is(item: Any) -> Any:
    return item
