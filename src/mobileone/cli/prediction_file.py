"""Predictions in a file that may take hours: a line a class in .csv, a line an image in .jsonl.

It grows as `NAME.partial` and takes its name when it is whole; what an interrupted run has left there is gone
on with. In a .csv, texts that a spreadsheet would take for a formula begin with an apostrophe, and what a
terminal would obey is escaped; a .jsonl holds the texts as they are.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from mobileone.atomic import rename_durably
from mobileone.cli.target_file import refuse_existing
from mobileone.errors import ConfigError, MobileOneError
from mobileone.outside_text import csv_cell, json_text, printable
from mobileone.regular_file import open_regular

if TYPE_CHECKING:
    from mobileone.inference.predictor import Prediction

COLUMNS = ("image", "rank", "index", "class_name", "name", "probability", "chosen", "sure", "error")
MAX_DIFFERENCE = 1e-3
"""Probabilities of the same model on the same image differ by less, whatever else is in the batch."""


class DoneImage(NamedTuple):
    """An image whose prediction is in a partial file.

    Attributes:
        name: as the file has it.
        scores: class index and probability, best first; empty where the image was skipped.
        end: of its lines, bytes from the beginning.
    """

    name: str
    scores: tuple[tuple[int, float], ...]
    end: int


@dataclass(frozen=True)
class PredictionFile:
    """A .csv or .jsonl to write.

    Attributes:
        path: of the finished file.
        force: overwrite what is there, the partial file too.
        resume: go on with the partial file, if there is one.

    Raises:
        ConfigError: on another suffix, a file that is there already, or a partial one that is not asked for.
    """

    path: Path
    force: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in (".csv", ".jsonl"):
            raise ConfigError(f"--output ends in .csv or .jsonl, got {self.path}")
        refuse_existing(self.path, force=self.force)
        if self.partial.exists() and not (self.force or self.resume):
            raise ConfigError(
                f"{self.partial} is what an interrupted run has left; pass --resume to go on with it, or "
                "--force to begin anew"
            )

    @property
    def partial(self) -> Path:
        """Where it grows."""
        return self.path.with_name(f"{self.path.name}.partial")

    def done(self) -> list[DoneImage]:
        """The images of the partial file, those whose lines are whole; none without `resume`.

        Raises:
            ConfigError: if it is not a file of predictions.
            MobileOneError: if it cannot be read.
        """
        if not self.resume or not self.partial.exists():
            return []
        read = _done_in_lines if self.path.suffix.lower() == ".jsonl" else _done_in_table
        try:
            with open_regular(self.partial) as file:
                return list(read(file))
        except OSError as error:
            raise MobileOneError(f"cannot read {self.partial}: {error.strerror or error}") from error
        except (ValueError, LookupError, TypeError, RecursionError, csv.Error) as error:
            raise ConfigError(
                f"{self.partial} holds no predictions ({printable(str(error))[:100]}); remove it, or pass "
                "--force to begin anew"
            ) from error

    def written_name(self, image: str) -> str:
        """An image's path as the file has it."""
        return image if self.path.suffix.lower() == ".jsonl" else csv_cell(printable(image))

    @contextmanager
    def writer(self, done: Sequence[DoneImage] = ()) -> Iterator[Callable[[Prediction], None]]:
        """A function that takes prediction after prediction; at the end the file has its name.

        When something goes wrong, the partial file stays if there is anything in it, and a line says so.

        Args:
            done: what of the partial file is kept; what comes after it is cut off.

        Raises:
            MobileOneError: if it cannot be written.
        """
        count = len(done)
        try:
            with _locked(self.partial) as file:
                file.truncate(done[-1].end if done else 0)
                file.seek(0, os.SEEK_END)
                write_one = self._writer(file, header=not done)

                def write(prediction: Prediction) -> None:
                    nonlocal count
                    write_one(prediction)
                    count += 1

                yield write
                file.flush()
                os.fsync(file.fileno())
            rename_durably(self.partial, self.path)
        except OSError as error:
            self._leave(count)
            raise MobileOneError(f"cannot write {self.partial}: {error.strerror or error}") from error
        except BaseException:
            self._leave(count)
            raise

    def _writer(self, file: IO[str], *, header: bool) -> Callable[[Prediction], None]:
        if self.path.suffix.lower() == ".jsonl":
            return lambda prediction: print(json_text(prediction.to_dict()), file=file)
        if header:
            csv.writer(file).writerow(COLUMNS)

        def write(prediction: Prediction) -> None:
            lines = io.StringIO(newline="")
            csv.writer(lines).writerows(csv_rows(prediction))
            file.write(lines.getvalue())  # one call of the system, not one a line

        return write

    def _leave(self, count: int) -> None:
        if count:
            print(f"{count} predictions are kept in {self.partial}; --resume goes on", file=sys.stderr)
        else:
            self.partial.unlink(missing_ok=True)


def csv_rows(prediction: Prediction) -> Iterator[tuple[str | int | float, ...]]:
    """A row a class under `COLUMNS`, one with the error for a skipped image.

    `chosen` is 1 or 0 of a multi-label network, and empty of another.
    """
    image = csv_cell(printable(prediction.image))
    if prediction.error is not None:
        yield image, *[""] * 7, csv_cell(printable(prediction.error))
    sure = "" if prediction.sure is None else "yes" if prediction.sure else prediction.doubt or "no"
    for rank, score in enumerate(prediction.scores, start=1):
        names = (csv_cell(printable(name)) for name in (score.class_name, score.name))
        chosen = "" if prediction.labels is None else int(score.class_name in prediction.labels)
        yield image, rank, score.index, *names, score.probability, chosen, sure, ""


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """The file, opened to write line by line, and nobody else's, where the file system has locks.

    Raises:
        MobileOneError: if another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not through a link: what it points to is not ours to write.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o666)
    with os.fdopen(descriptor, "r+", encoding="utf-8", newline="", buffering=1) as file:
        try:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MobileOneError(f"another process is writing {path}; wait for it") from None
        except (ImportError, OSError):  # Windows, and file systems without locks
            pass
        yield file


def _done_in_lines(file: IO[bytes]) -> Iterator[DoneImage]:
    end = 0
    for line in file:
        if not line.endswith(b"\n"):  # torn
            return
        end += len(line)
        values = json.loads(line)
        scores = tuple((int(score["index"]), float(score["probability"])) for score in values["scores"])
        yield DoneImage(str(values["image"]), scores, end)


def _done_in_table(file: IO[bytes]) -> Iterator[DoneImage]:
    """Every image but the last, of which a row may be missing."""
    ends: list[int] = []

    def lines() -> Iterator[str]:
        end = 0
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            ends.append(end)
            yield line.decode("utf-8")

    rows = csv.reader(lines(), strict=True)
    if next(rows, None) != list(COLUMNS):
        raise ValueError("its first line is not that of a table of predictions")
    last: DoneImage | None = None
    for cells in rows:
        row = dict(zip(COLUMNS, cells, strict=True))
        name, error = row["image"], row["error"]
        scores = () if error else ((int(row["index"]), float(row["probability"])),)
        if last is None or error or int(row["rank"]) == 1:
            if last is not None:
                yield last
            last = DoneImage(name, scores, ends[rows.line_num - 1])
        else:
            last = DoneImage(name, last.scores + scores, ends[rows.line_num - 1])
