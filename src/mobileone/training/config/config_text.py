"""Settings as text, and as the plain values of JSON, to the types of a configuration. Imports no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import json
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mobileone.errors import ConfigError
from mobileone.input_spec import Size, parse_size

C = TypeVar("C")

# Types of a class's fields. Looking them up evaluates their text, so it is done once.
_hints: Callable[[Any], dict[str, Any]] = functools.cache(get_type_hints)


def changed(
    config: C, settings: Iterable[str], *, short_names: Mapping[str, str], beside: Mapping[str, Any]
) -> C:
    """A dataclass with fields replaced, each setting a text `field=value`, or `group.field=value`.

    Args:
        config: a frozen dataclass; a field may be one itself, a group.
        settings: values are plain words and numbers, lists with commas, or JSON; `none` where a field may be
            None.
        short_names: full names of fields in groups, by other names that are taken as well.
        beside: values by full name, replaced at the same time; a setting wins.

    Raises:
        ConfigError: on an unknown field (with the nearest known one) or a value of the wrong type or range.
    """
    values = dict(beside)
    for setting in settings:
        given, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"a setting must be field=value, got {setting!r}")
        name = short_names.get(given.strip(), given.strip())
        hint = _hint(type(config), name, short_names)
        values[name] = _convert(hint, name, _parse(hint, text.strip()))
    return replaced(config, values)


def converted(kind: type[C], values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of JSON as the arguments of a dataclass.

    Raises:
        ConfigError: on an unknown field or a value of another type.
    """
    return {name: _convert(_hint(kind, name), name, value) for name, value in values.items()}


def replaced(config: C, values: Mapping[str, Any]) -> C:
    """A dataclass with fields replaced, by `field` or `group.field`, all at once: they are checked together.

    Raises:
        ConfigError: on an unknown field or a value out of range.
    """
    for name in values:
        _hint(type(config), name)  # refuses what it does not know
    plain = {name: value for name, value in values.items() if "." not in name}
    for group in dict.fromkeys(name.partition(".")[0] for name in values if "." in name):
        start = f"{group}."
        inner = {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}
        plain[group] = replaced(plain.get(group, getattr(config, group)), inner)
    result: C = dataclasses.replace(config, **plain)  # type: ignore[type-var]
    return result


def flattened(config: object, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a dataclass as its JSON has them, those of groups under `group.field`."""
    groups = [name for name, hint in _hints(type(config)).items() if dataclasses.is_dataclass(hint)]
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in groups:
            flat |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            flat[name] = value
    return flat


@functools.cache
def _fields(kind: type[Any]) -> dict[str, Any]:
    """Name and type of every field; those of groups under `group.field` as well."""
    fields: dict[str, Any] = {}
    for name, hint in _hints(kind).items():
        fields[name] = hint
        if dataclasses.is_dataclass(hint):
            fields |= {f"{name}.{inner}": kind for inner, kind in _hints(hint).items()}
    return fields


def _hint(kind: type[Any], name: str, short_names: Iterable[str] = ()) -> Any:
    fields = _fields(kind)  # type: ignore[arg-type]
    if name in fields:
        return fields[name]
    inner = {field.rpartition(".")[2]: field for field in fields if "." in field}
    known = [*fields, *short_names]
    near = [inner[name]] if name in inner else difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f" (known: {', '.join(fields)})"
    raise ConfigError(f"unknown training field {name!r}{hint}")


def _parse(hint: Any, text: str) -> Any:
    """Text to a JSON value; words stay text."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if any(get_origin(option) is Literal and text in get_args(option) for option in options):
        return text
    is_list = any(get_origin(option) is tuple for option in options)
    if hint == Size and not text.startswith("["):  # 256x192 and 256,192 alike
        with contextlib.suppress(ValueError):
            return parse_size(text.replace(",", "x"))
    if is_list and not text.startswith("[") and (len(options) == 1 or "," in text):
        return [_parse(Any, part.strip()) for part in text.split(",")] if text else []
    if str in options and not text.startswith("{"):
        return None if text.lower() == "none" and hint is not str else text
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for read in (json.loads, float):
        with contextlib.suppress(ValueError):
            return read(text)
    return text


def _convert(hint: Any, name: str, value: Any) -> Any:
    """A JSON value as the type of field `name`."""
    try:
        return _coerce(hint, value)
    except TypeError as error:
        raise ConfigError(f"{name} must be {error}, got {value!r}") from error


def _coerce(hint: Any, value: Any) -> Any:
    """`value` as `hint`; a TypeError says what was wanted."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in args:
            raise TypeError(f"one of {', '.join(args)}")
        return value
    if origin in (Union, UnionType):
        return _coerce_union(args, value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"a list, each item {_words(args[0])}")
        if args[-1] is not Ellipsis and len(value) != len(args):
            raise TypeError(f"{len(args)} values, each {_words(args[0])}")
        return tuple(_coerce(args[0], item) for item in value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _coerce_dataclass(hint, value)
    accepted = (int, float) if hint is float else (hint,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(_words(hint))
    return hint(value)


def _coerce_union(hints: tuple[Any, ...], value: Any) -> Any:
    for hint in hints:
        if hint is type(None) and value is None:
            return None
        try:
            if hint is not type(None):
                return _coerce(hint, value)
        except TypeError:
            continue
    raise TypeError(" or ".join(_words(hint) for hint in hints))


def _coerce_dataclass(kind: type[Any], value: Any) -> Any:
    if isinstance(value, kind):
        return value
    names = [field.name for field in dataclasses.fields(kind)]
    if isinstance(value, list | tuple) and len(value) <= len(names):
        value = dict(zip(names, value, strict=False))
    if not isinstance(value, Mapping) or not set(value) <= set(names):
        unknown = [name for name in value if name not in names] if isinstance(value, Mapping) else []
        raise TypeError(
            f"an object with {', '.join(names)}" + (f" (unknown: {unknown[0]})" if unknown else "")
        )
    hints = _hints(kind)
    return kind(**{name: _coerce(hints[name], item) for name, item in value.items()})


def _words(hint: Any) -> str:
    if hint is type(None):
        return "none"
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each item {_words(get_args(hint)[0])}"
    return known.get(hint, getattr(hint, "__name__", str(hint)))
