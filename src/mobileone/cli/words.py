"""How a command's options are written, without the parser: most command lines are read here.

tyro, and what it loads for its checks, costs 20 MB and 0.1 s, more than one image does. It reads what is not
plain here: help, mistakes, options of rarer kinds.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mobileone.input_spec import parse_size, size_text

T = TypeVar("T")
NUMBERS_AND_TEXTS = (str, int, float, Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """For `Annotated`: what stands on the command line for a field, where its type alone does not say it.

    Attributes:
        metavar: what help shows for the value.
        is_positional: without a flag.
        short: another flag, such as "-o".
        read: makes the value of its text; a ValueError means that it cannot.
        show: the reverse, for defaults in help.
    """

    metavar: str | None = None
    is_positional: bool = False
    short: str | None = None
    read: Callable[[str], object] | None = None
    show: Callable[[Any], str] = str


MODEL = Word(metavar="MODEL", is_positional=True)
ARTIFACT = Word(metavar="FILE", is_positional=True)
IMAGES = Word(metavar="IMAGE ...", is_positional=True)
FILE = Word(metavar="FILE")
OUTPUT = Word(short="-o")
INPUT_SIZE = Word(metavar="SIDE|HxW", read=parse_size, show=size_text)
"""For `Annotated[Size, INPUT_SIZE]`: 224, or 256x192, height first."""


class _NotPlainError(Exception):
    """The parser shall look at it."""


def read_plainly(command: type[T], words: Sequence[str]) -> T | None:
    """The command that these words describe; None where the parser shall read them, or complain.

    Args:
        command: a dataclass, its hints evaluated where its module has their names.
        words: after the command's own.
    """
    hints = _hints(command)
    if any(_is_for_parser(hint) for hint in hints.values()):
        return None
    flags, places = {}, []
    for each in fields(command):  # type: ignore[arg-type]
        word = _word_of(hints[each.name])
        if word.is_positional:
            places.append(each.name)
        else:
            flags["--" + each.name.replace("_", "-")] = each.name
            flags.update({word.short: each.name} if word.short else {})
    try:
        values, loose = _by_flag(words, flags, hints)
        values |= _by_place(loose, places, hints)
        missing = (each.name for each in fields(command) if each.default is MISSING)  # type: ignore[arg-type]
        return command(**values) if set(missing) <= set(values) else None
    except (_NotPlainError, ValueError):
        return None


_AS_WRITTEN: dict[type, dict[str, Any]] = {}


def _hints(command: type) -> dict[str, Any]:
    """As they were written, also once the parser has its own."""
    if command not in _AS_WRITTEN:
        _AS_WRITTEN[command] = get_type_hints(command, include_extras=True)
    return _AS_WRITTEN[command]


def _by_flag(
    words: Sequence[str], flags: dict[str, str], hints: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Values by field, and the words that belong to no flag, which must follow one another."""
    values: dict[str, Any] = {}
    loose: list[int] = []
    place = 0
    while place < len(words):
        text, at = words[place], place
        place += 1
        if not text.startswith("-"):
            loose.append(at)
            continue
        flag, equals, value = text.partition("=")
        name = flags.get(flag)
        if name is None or name in values:
            raise _NotPlainError
        if hints[name] is bool:
            if equals:
                raise _NotPlainError
            values[name] = True
            continue
        if not equals:
            if place == len(words) or words[place].startswith("-"):
                raise _NotPlainError
            value = words[place]
            place += 1
        values[name] = _value(hints[name], value)
    if loose != list(range(loose[0], loose[0] + len(loose)) if loose else []):
        raise _NotPlainError
    return values, [words[at] for at in loose]


def _by_place(texts: list[str], places: Sequence[str], hints: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in places:
        kind = _bare(hints[name])
        if get_origin(kind) is tuple:
            if get_args(kind) != (str, ...) or name != places[-1] or not texts:
                raise _NotPlainError
            return values | {name: tuple(texts)}
        if texts:
            values[name] = _value(hints[name], texts.pop(0))
    if texts:
        raise _NotPlainError
    return values


def _value(hint: Any, text: str) -> Any:
    word, kind = _word_of(hint), _bare(hint)
    if word.read is not None:
        return word.read(text)
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise _NotPlainError
        return text
    if kind not in NUMBERS_AND_TEXTS or text == "None":
        raise _NotPlainError
    return kind(text)


def _is_for_parser(hint: Any) -> bool:
    """Whether something in it is said in the parser's own terms."""
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return not all(isinstance(mark, Word) for mark in marks) or any(map(_is_for_parser, get_args(hint)))


def _word_of(hint: Any) -> Word:
    """The first `Word` in a hint, also within `| None`; a word that says nothing where there is none."""
    if isinstance(hint, Word):
        return hint
    found = (_word_of(part) for part in get_args(hint))
    return next((word for word in found if word != Word()), Word())


def _bare(hint: Any) -> Any:
    """A hint without what is annotated, and without `| None`."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [_bare(part) for part in get_args(hint) if part is not type(None)]
        return kinds[0] if len(kinds) == 1 else hint
    return hint


def for_parser(command: type[T]) -> type[T]:
    """The command, its hints in the parser's own terms from now on."""
    command.__annotations__ = {name: _translated(hint) for name, hint in _hints(command).items()}
    return command


def _translated(hint: Any) -> Any:
    from tyro.conf import Positional, arg
    from tyro.constructors import PrimitiveConstructorSpec

    if get_origin(hint) in (Union, types.UnionType):
        return reduce(or_, map(_translated, get_args(hint)))
    if get_origin(hint) is not Annotated:
        return hint
    kind, *marks = get_args(hint)
    if not (words := [mark for mark in marks if isinstance(mark, Word)]):
        return hint
    (word,) = words
    others = [mark for mark in marks if mark is not word]
    if (read := word.read) is not None:
        others.append(
            PrimitiveConstructorSpec(
                nargs=1,
                metavar=word.metavar or "VALUE",
                instance_from_str=lambda texts: read(texts[0]),
                is_instance=lambda value: isinstance(value, int | tuple),
                str_from_instance=lambda value: [word.show(value)],
            )
        )
    else:
        others.append(arg(metavar=word.metavar, aliases=(word.short,) if word.short else None))
    type_and_hints = (kind, *others)
    translated = Annotated[type_and_hints]  # type: ignore[valid-type]
    return Annotated[translated, Positional] if word.is_positional else translated
