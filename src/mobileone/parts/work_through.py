"""The parts of a set, one after another, beside any number of processes that do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mobileone.errors import DataError
from mobileone.heap import kept_heap
from mobileone.parts.claims import Claim
from mobileone.parts.data_part import DataPart, PartImages
from mobileone.parts.result_folder import ResultFolder
from mobileone.parts.row_file import Row
from mobileone.ranks.launch import read_launch

POLL_S = (0.02, 1.0)
"""Between two looks at parts in work: short at first, since most waits are; then longer."""
ELSEWHERE = "it failed in another process"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsReport:
    """What came of the parts, as one process sees it.

    Attributes:
        output: the folder.
        parts: how many there are.
        there_before: that were done when this process began.
        done_here: names of those that this process did.
        images_here: that they hold.
        failed: parts that are not there, by name, and why: their data is gone or damaged.
        left: names of parts that are not there and were not tried: of other ranks, on a file system without
            locks.
        seconds: that this process took.
    """

    output: str
    parts: int
    there_before: int = 0
    done_here: tuple[str, ...] = ()
    images_here: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether every part is there."""
        return not self.failed and not self.left

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"is_whole": self.is_whole}


Compute = Callable[[PartImages], Iterator[Sequence[Row]]]


def work_through(
    folder: ResultFolder,
    parts: Sequence[DataPart],
    compute: Compute,
    *,
    on_failure: Callable[[str, str], None] = lambda name, reason: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PartsReport:
    """Do what is not done yet, and what nobody else is doing; then wait for the others.

    A process begins with every n-th part, by its rank, and helps with the others' when these are done. Where
    one of them is killed, its part is free again, and is done by whoever is still there.

    Args:
        folder: of the results.
        parts: all of them, the same in every process.
        compute: rows of a part's images, some at a time.
        on_failure: told a part's name and why its data cannot be used; the others go on.
        on_progress: told how many parts are done, of how many.
    """
    worker = _Worker(folder, parts, compute, on_failure, on_progress)
    with kept_heap(), worker.pool:
        worker.do_own_and_others()
        worker.wait_for_others()
    return worker.report()


class _Worker:
    def __init__(
        self,
        folder: ResultFolder,
        parts: Sequence[DataPart],
        compute: Compute,
        on_failure: Callable[[str, str], None],
        on_progress: Callable[[int, int], None],
    ) -> None:
        self.folder, self.parts, self.compute = folder, parts, compute
        self.on_failure, self.on_progress = on_failure, on_progress
        self.started = time.monotonic()
        self.here: list[str] = []
        self.images = 0
        self.failed: dict[int, str] = {}
        self.undone = set(range(len(parts)))
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="part")
        self.ahead: tuple[int, Future[PartImages]] | None = None
        for number in range(len(parts)):
            self._is_undone(number)
        self.there_before = len(parts) - len(self.undone)
        on_progress(self.there_before, len(parts))

    def do_own_and_others(self) -> None:
        rank, _, world_size, _ = read_launch()
        own = [number for number in sorted(self.undone) if number % world_size == rank]
        # From the far end, where those whose they are come last.
        others = [number for number in sorted(self.undone, reverse=True) if number % world_size != rank]
        order = [*own, *others] if self.folder.claims.work else own
        for place, number in enumerate(order):
            self._try(number, next((after for after in order[place + 1 :] if after in self.undone), None))

    def wait_for_others(self) -> None:
        """Until no part is in work; what a killed process gave up is done here."""
        pause, longest = POLL_S
        while self.folder.claims.work:
            states = [self._try(number, None) for number in sorted(self.undone)]
            if Claim.BUSY not in states:
                return
            if Claim.TAKEN not in states:
                time.sleep(pause)
                pause = min(2 * pause, longest)

    def report(self) -> PartsReport:
        failed = dict(self.failed)
        if self.folder.claims.work:
            failed |= dict.fromkeys(self.undone, ELSEWHERE)
        return PartsReport(
            output=str(self.folder.path),
            parts=len(self.parts),
            there_before=self.there_before,
            done_here=tuple(self.here),
            images_here=self.images,
            failed={self.parts[number].name: failed[number] for number in sorted(failed)},
            left=tuple(self.parts[number].name for number in sorted(self.undone - failed.keys())),
            seconds=round(time.monotonic() - self.started, 3),
        )

    def _is_undone(self, number: int) -> bool:
        """Whether a part is to be done; one that can be neither done nor taken as done has failed."""
        try:
            if not self.folder.is_done(self.parts[number]):
                return True
        except DataError as error:
            self._fail(number, error)
        self.undone.discard(number)
        return False

    def _try(self, number: int, following: int | None) -> Claim:
        if number not in self.undone:
            return Claim.FAILED
        claim = self.folder.claims.take(number)
        # Asked now, since it may have been finished a moment before.
        if claim is Claim.TAKEN and self._is_undone(number):
            try:
                self.images += self._do(number, following)
                self.here.append(self.parts[number].name)
                self.undone.discard(number)
            except DataError as error:
                self._fail(number, error)
                self.folder.claims.mark_failed(number)
                return claim
        if claim is Claim.TAKEN:
            self.folder.claims.release(number)
        self.on_progress(len(self.parts) - len(self.undone) - len(self.failed), len(self.parts))
        return claim

    def _do(self, number: int, following: int | None) -> int:
        part, ahead, self.ahead = self.parts[number], self.ahead, None
        images = ahead[1].result() if ahead is not None and ahead[0] == number else part.open()
        if following is not None and self.parts[following].is_remote:
            self.ahead = (following, self.pool.submit(self.parts[following].open))
        return self.folder.write(part, self.compute(images))

    def _fail(self, number: int, error: DataError) -> None:
        self.undone.discard(number)
        self.failed[number] = " ".join(str(error).split())
        self.on_failure(self.parts[number].name, self.failed[number])
