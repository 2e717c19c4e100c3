"""Fenced blocks of a page; and `console` blocks run, their output held against what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```([\w-]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
TIME_UNIT = re.compile(r"\s*(?:s|ms|µs|images/s|s of CPU)\b")
WITHIN = 0.1
"""Part of a figure by which another machine's may differ; times may by any, as may what is nearly zero."""
NEARLY_ZERO = 1e-3


def blocks(text: str, language: str | None = None) -> list[str]:
    """Code blocks of a page, of one language or all.

    >>> blocks("```python\\n1\\n```\\n```\\n2\\n```\\n", "python")
    ['1\\n']
    """
    return [block for given, block in FENCE.findall(text) if language in (None, given)]


@dataclass(frozen=True)
class Command:
    """A command of a `console` block.

    Attributes:
        line: as one would type it.
        shown: the lines of its output on the page; `…` stands for what was left out.
    """

    line: str
    shown: tuple[str, ...]


def commands(text: str) -> list[Command]:
    """Every command of a page's `console` blocks, in order."""
    found = []
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            line, *shown = part.splitlines()
            found.append(Command(line, tuple(shown)))
    return found


@dataclass(frozen=True)
class Ran:
    """What a command did.

    Attributes:
        command: as typed.
        output: lines of both streams, progress bars as they were last.
        code: exit code.
        seconds: wall time.
    """

    command: Command
    output: tuple[str, ...]
    code: int
    seconds: float


def run(command: Command, folder: Path, environment: dict[str, str]) -> Ran:
    """Run a command by bash; `mobileone` in it is this interpreter's.

    Args:
        command: of a page.
        folder: where.
        environment: on top of this process's.
    """
    mobileone = f'mobileone() {{ {shlex.quote(sys.executable)} -m mobileone "$@"; }}'
    begin = time.monotonic()
    done = subprocess.run(
        ["bash", "-euc", f"{mobileone}\n{command.line}"],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    lines = [line.rpartition("\r")[2].rstrip() for line in done.stdout.splitlines()]
    return Ran(command, tuple(line for line in lines if line), done.returncode, time.monotonic() - begin)


def wrong(text: str, folder: Path, environment: dict[str, str], *, is_compared: bool = True) -> list[str]:
    """Run every command of a page, to the first that fails.

    Args:
        text: of the page.
        folder: where the commands run, one after the other.
        environment: on top of this process's.
        is_compared: whether the commands must print what the page shows.

    Returns:
        What is wrong, a line each.
    """
    found = []
    for command in commands(text):
        ran = run(command, folder, environment)
        print(f"{ran.seconds:6.1f} s  $ {command.line}", *ran.output, sep="\n", flush=True)
        if ran.code:
            return [*found, f"$ {command.line}: exit code {ran.code}: {' / '.join(ran.output[-3:])}"]
        if is_compared:
            found += [f"$ {command.line}: does not print: {line}" for line in differences(ran)]
    return found


def differences(ran: Ran) -> list[str]:
    """Lines that the page shows and the command did not print, in that order.

    A line is the same if its words are and its figures agree within a tenth; times are not compared.
    """
    missing, at = [], 0
    for shown in ran.command.shown:
        if shown.strip() in ("", "…"):
            continue
        places = [place for place in range(at, len(ran.output)) if agree(shown, ran.output[place])]
        if places:
            at = places[0] + 1
        else:
            missing.append(shown)
    return missing


def agree(shown: str, printed: str) -> bool:
    """Whether a line of a page stands for a line that was printed.

    >>> agree("acc@1 90.9  took 3 s", "acc@1 91.2  took 77 s"), agree("acc@1 90.9", "acc@1 70.1")
    (True, False)
    >>> agree("…/photos: 3 files", "/home/me/photos: 3 files")
    True
    """
    shown, pattern, figures, at = shown.strip(), "", [], 0
    for match in NUMBER.finditer(shown):
        is_time = TIME_UNIT.match(shown, match.end()) is not None
        figures.append(None if is_time else _figure(match[0]))
        pattern += _words(shown[at : match.start()]) + f"({NUMBER.pattern})"
        at = match.end()
    found = re.fullmatch(pattern + _words(shown[at:]), printed.strip())
    if found is None:
        return False
    pairs = zip(figures, map(_figure, found.groups()), strict=True)
    return all(wanted is None or _near(wanted, got) for wanted, got in pairs)


def _words(text: str) -> str:
    parts = [r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in text.split("…")]
    return ".*?".join(parts)


def _figure(text: str) -> float:
    return float(text.replace(",", "").rstrip(".") or "nan")


def _near(one: float, other: float) -> bool:
    largest = max(one, other)
    return largest < NEARLY_ZERO or abs(one - other) <= WITHIN * largest
