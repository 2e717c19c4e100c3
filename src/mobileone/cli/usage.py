"""Complaints about wrong usage: the parser's boxes become one short line with the nearest right form."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TypeVar

T = TypeVar("T")

WIDE = "4000"
"""Columns of a terminal in which the parser breaks no line."""
NEAR = 0.6
UNKNOWN = "Unrecognized options:"


def parse(read: Callable[[Sequence[str]], T], given: Sequence[str], *, prog: str) -> T:
    """What `read`, a call of tyro, makes of the arguments; its complaint about wrong usage as one line.

    Raises:
        SystemExit: with 0 after --help, with 2 on wrong usage.
    """
    try:
        with redirect_stderr(io.StringIO()):
            return read(given)
    except SystemExit as stop:
        if stop.code:
            command, why = complaint(_refusal(read, given), lambda of: help_text(read, of), given)
            whole = " ".join(part for part in (prog, command) if part)
            print(f"{prog}: usage: {why}; see {whole} --help", file=sys.stderr)
        raise


def complaint(boxed: str, read_help: Callable[[list[str]], str], given: Sequence[str]) -> tuple[str, str]:
    """What is wrong with the arguments.

    Args:
        boxed: the parser's message, drawn in ASCII, in a terminal so wide that no line is broken.
        read_help: the help text of a command, of the whole program for none.
        given: the arguments.

    Returns:
        The command that it is about, empty where there is none, and the reason.
    """
    # In a box every line is indented by two columns, but for its title and the rules.
    lines = [line[2:].rstrip() for line in boxed.splitlines() if re.match(r"  +[^\s-]|  +--\w", line)]
    text = next(iter(lines), boxed.strip())
    commands = _commands(read_help([]))
    command = given[0] if given and given[0] in commands else ""
    if commands and not command and not text.startswith("Missing subcommand"):
        first = given[0] if given else ""
        if not first:
            return "", f"needs a command, one of {', '.join(commands)}"
        what = "option" if first.startswith("-") else "command"
        return "", f"unknown {what} {first!r}{_near(first, commands)}"
    if text.startswith(UNKNOWN):
        flags = _flags(read_help([command] if command else []))
        return command, _unknown(text.removeprefix(UNKNOWN).strip(), given, flags)
    if text.startswith("Missing from"):
        return command, f"needs {' and '.join(_names(lines))}"
    if found := re.match(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", text):
        value, flag, choices = found.groups()
        names = sorted(set(re.findall(r"'([^']*)'", choices)) - {"None"})
        return command, f"{flag} must be one of {', '.join(names)}, got {value!r}{_near(value, names)}"
    if found := re.match(r"Missing value for argument '(.*)'", text):
        return command, f"{found[1]} needs a value"
    if found := re.match(r"Error parsing (\S+?): (.*)", text):
        return command, _bad_value(found[1], found[2], lines)
    return command, text.rstrip(".")


def _unknown(told: str, given: Sequence[str], flags: Sequence[str]) -> str:
    """The first argument that nothing is known of, a wrongly spelt option before all else."""
    words = [word for word in given if word.partition("=")[0] in told or word in told]
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("-") and name.replace("_", "-") not in flags:
            return f"unknown option {name}{_near(name, flags)}"
    return f"unexpected argument {told.split(', ')[0]!r}"


def _bad_value(flag: str, reason: str, lines: Sequence[str]) -> str:
    """What an argument wants, and what it was given."""
    if not (got := re.search(r"invalid literal for \w+\(\)[^']*'(.*)'|instantiated from \['(.*)'\]", reason)):
        if got := re.search(r"could not convert string to float: '(.*)'", reason):
            return f"{flag} wants a number, got {got[1]!r}"
        return reason.rstrip(".") if flag in reason else f"{flag}: {reason.rstrip('.')}"
    shown = next((line for line in lines if line.strip().startswith(flag) and line != lines[0]), "")
    wanted = shown.strip().removeprefix(flag).strip().replace("{None}|", "")
    names = {"INT": "a whole number", "FLOAT": "a number"}
    return f"{flag} wants {names.get(wanted, wanted) or 'another value'}, got {got[1] or got[2]!r}"


def _names(lines: Iterable[str]) -> Iterator[str]:
    """The arguments that are missing: what is indented by one level in the parser's message."""
    for line in lines:
        if re.match(r" {4}\S", line) and not line.endswith("--help"):
            yield line.strip()


def _near(word: str, known: Sequence[str]) -> str:
    import difflib  # not loaded by who makes no mistake

    near = difflib.get_close_matches(word, known, n=1, cutoff=NEAR)
    near = near or [each for each in known if len(word) > 3 and each.startswith(word)][:1]
    return f"; did you mean {near[0]}?" if near else ""


def _commands(text: str) -> list[str]:
    found = re.search(r"\{([\w-]+(?:,[\w-]+)+)\}", text)
    return found[1].split(",") if found else []


def _flags(text: str) -> list[str]:
    """The options that a help text explains, each at the start of a line of its box."""
    starts = re.findall(r"^  (--?\w.*)$", text, flags=re.MULTILINE)
    return sorted({flag for start in starts for flag in re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", start[:60])})


@contextmanager
def _wide() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDE
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def _refusal(read: Callable[[Sequence[str]], object], given: Sequence[str]) -> str:
    """The parser's complaint, without broken lines."""
    return _told(read, given)


def help_text(read: Callable[[Sequence[str]], object], command: list[str]) -> str:
    """What --help of a command prints, of the whole program for none, in ASCII, no line of it broken."""
    return _told(read, [*command, "--help"])


def _told(read: Callable[[Sequence[str]], object], given: Sequence[str]) -> str:
    """What the parser prints. It draws its boxes in ASCII, for a string has no encoding."""
    told = io.StringIO()
    with _wide(), redirect_stdout(told), redirect_stderr(told), suppress(SystemExit):
        read(given)
    return told.getvalue()
