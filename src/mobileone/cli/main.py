"""The `mobileone` command: reads arguments, runs one command, turns errors into one line and an exit code.

0 done, 1 an error of ours or of a file (one line on stderr), 2 wrong usage, 75 training told to stop, and
saved, 130 interrupted, 141 nobody reads the results, 143 stopped by SIGTERM (129 by SIGHUP). Results go to
stdout, progress and messages to stderr. No torch is imported before a command needs it.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from mobileone.cli.terminal import Terminated, cleaned_up_on_signals, safe_streams
from mobileone.cli.usage import parse
from mobileone.cli.words import for_parser, read_plainly
from mobileone.distribution import needing_pytorch, version_text
from mobileone.errors import MobileOneError, MobileOneWarning, PreemptedError
from mobileone.processor import share_cores

DESCRIPTION = """Train, test, use, fuse, convert and export MobileOne.

MODEL is a variant name (mobileone_s0 … mobileone_s4, fresh weights), a run folder, a checkpoint file of any
format (ours, timm, Apple, the reference port, mmpretrain), a published weights name (see `mobileone weights`)
or hf:owner/name on the Hugging Face hub. test, predict and bench also take what export writes.

`mobileone --version` says which package is installed, and which PyTorch."""


class Command(Protocol):
    """One parsed command."""

    def run(self) -> int:
        """Do it; the exit code."""


# Command: module in this folder, class. Only the one that is run is imported.
COMMANDS = {
    "train": ("train", "Train"),
    "report": ("train", "Report"),
    "test": ("test", "Test"),
    "predict": ("predict", "Predict"),
    "calibrate": ("calibrate", "Calibrate"),
    "embed": ("embed", "Embed"),
    "merge": ("merge", "Merge"),
    "similar": ("similar", "Similar"),
    "explain": ("explain", "Explain"),
    "info": ("info", "Info"),
    "profile": ("profile", "Profile"),
    "bench": ("bench", "Bench"),
    "reparameterize": ("reparameterize", "Reparameterize"),
    "convert": ("convert", "Convert"),
    "export": ("export", "Export"),
    "quantize": ("quantize", "Quantize"),
    "build": ("build", "Build"),
    "push": ("push", "Push"),
    "serve": ("serve", "Serve"),
    "web": ("web", "Web"),
    "weights": ("weights", "Weights"),
    "shard": ("shard", "Shard"),
    "check-data": ("check_data", "CheckData"),
    "check-labels": ("check_labels", "CheckLabels"),
}


@dataclass(frozen=True)
class Unread:
    """Stands for a command that is not the one given."""

    def run(self) -> int:
        """Never called."""
        raise AssertionError


def find_command(name: str) -> type[Command]:
    """The class of a command.

    >>> find_command("predict").__name__
    'Predict'
    """
    module, class_name = COMMANDS[name]
    command: type[Command] = getattr(import_module(f"mobileone.cli.{module}"), class_name)
    return command


def guard(work: Callable[[], int], *, prog: str) -> int:
    """The exit code of `work`, with our own errors and warnings as a line each on stderr."""
    try:
        with cleaned_up_on_signals(), safe_streams(), _noted(prog):
            return _told(work, prog)
    except BrokenPipeError:
        return 141  # the reader of our output has gone (`| head`): no verdict, as where SIGPIPE kills
    except MobileOneError as error:  # of the streams themselves, after everything else
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1


def _told(work: Callable[[], int], prog: str) -> int:
    try:
        with needing_pytorch("this command"):
            return work()
    except PreemptedError as error:
        from mobileone.training.run.stop_signal import REQUEUE

        print(f"{prog}: {error}", file=sys.stderr)
        return REQUEUE
    except MobileOneError as error:
        print(f"{prog}: error: {_by_flags(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:  # any path may be too long, forbidden, gone meanwhile or on a disk that is full
        if isinstance(error, BrokenPipeError):
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"{prog}: error: {_by_flags(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    except Terminated as stop:
        print(f"{prog}: stopped by {stop}", file=sys.stderr)
        return 128 + stop.number


def _by_flags(text: str) -> str:
    """A message in one line, and in the words of the command line where every command has the flag."""
    return (
        " ".join(text.split())
        .replace("weights_key=", "--weights-key ")
        .replace("weights_key", "--weights-key")
    )


@contextmanager
def _noted(prog: str) -> Iterator[None]:
    """Show each of our own warnings once, as a note; the others as they are."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *where: Any) -> None:
        if issubclass(category, MobileOneWarning):
            print(f"{prog}: note: {_by_flags(str(message))}", file=sys.stderr)
        else:
            shown(message, category, *where)

    with warnings.catch_warnings():
        warnings.simplefilter("default", MobileOneWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def read_command(arguments: Sequence[str]) -> Command:
    """The command that the arguments describe, not run yet."""
    first = arguments[0] if arguments else ""
    if first in COMMANDS and (plain := read_plainly(find_command(first), arguments[1:])) is not None:
        return plain
    return read_by_parser(arguments)


def read_by_parser(arguments: Sequence[str]) -> Command:
    """The same by tyro, which also helps and complains."""
    import tyro

    first = arguments[0] if arguments else ""
    table: dict[str, Callable[..., Command]] = {
        name: for_parser(find_command(name)) if name == first or first not in COMMANDS else Unread
        for name in COMMANDS
    }
    command: Command = tyro.extras.subcommand_cli_from_dict(
        table,
        prog="mobileone",
        description=DESCRIPTION,
        args=list(arguments),
        sort_subcommands=False,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return command


def _print_version() -> int:
    print(version_text())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `mobileone` command line; the exit code."""
    share_cores()
    given = sys.argv[1:] if arguments is None else arguments
    if list(given) == ["--version"]:
        return guard(_print_version, prog="mobileone")
    return guard(lambda: parse(read_command, given, prog="mobileone").run(), prog="mobileone")


def run_and_end(work: Callable[[], int] = main) -> int:
    """The same as the last that a process does."""
    try:
        code = work()
    except Exception:
        _end_beside_ranks(1)
        raise
    _end_beside_ranks(code)
    if "torch" not in sys.modules:  # what torch brings along would take frozen objects for leaks, and say so
        gc.freeze()  # else the interpreter looks through all that it loaded: a tenth of a short command
    return code


def _end_beside_ranks(code: int) -> None:
    """End at once where other ranks would be waited for; a command without ranks has not loaded these."""
    ranks = sys.modules.get("mobileone.ranks.distributed")
    if ranks is not None:
        ranks.end_process(code)
