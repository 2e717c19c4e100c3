"""The reference: a section for every public name, and a page for every command, made from the code itself."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mobileone
import mobileone.cli.main as command_line
from mobileone.cli.main import COMMANDS, find_command, read_by_parser
from mobileone.cli.usage import help_text


class Group(NamedTuple):
    """What serves one task.

    Attributes:
        title: of its page.
        intro: what one does with it.
        rooms: of the package, whose public names it has.
    """

    title: str
    intro: str
    rooms: tuple[str, ...]


GROUPS = {
    "networks": Group(
        "Networks",
        "Build S0 to S4, variants of your own, feature extractors, single units.",
        ("model", "variants", "input_spec"),
    ),
    "weights": Group(
        "Weights", "Load, describe, save, convert and publish.", ("checkpoint", "publishing")
    ),
    "fusing": Group("Fuse and verify", "Train form to inference form and back, proved.", ("reparam",)),
    "training": Group("Train", "A run, its configuration, what it tells.", ("training", "data")),
    "measuring": Group(
        "Measure", "Accuracy, cost and speed.", ("evaluation", "profiling", "benchmarking")
    ),
    "exporting": Group(
        "Export and quantize", "Files for other runtimes.", ("exporting", "quantization", "backends")
    ),
    "predicting": Group(
        "Predict, serve, show", "Answers for photos, from Python, by HTTP, on a page.",
        ("inference", "parts", "serving", "web"),
    ),
    "deciding": Group(
        "Decide and curate", "What probabilities are worth; what is wrong with a data set.",
        ("decision", "calibration", "curation"),
    ),
    "errors": Group("Errors", "Everything that is raised on purpose.", ("errors",)),
}  # fmt: skip


def grouped() -> dict[str, list[str]]:
    """Every public name under its group.

    Raises:
        LookupError: if a name lies in a room that no group has.
    """
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name, home in mobileone._HOME.items():
        room = home.split(".")[1]
        group = next((each for each, (_, _, rooms) in GROUPS.items() if room in rooms), None)
        if group is None:
            raise LookupError(f"mobileone.{name} is in no group: give its room {room} one, in GROUPS")
        found[group].append(name)
    return {group: sorted(names, key=_order) for group, names in found.items()}


def _order(name: str) -> tuple[int, str]:
    """Functions before classes before data."""
    value = getattr(mobileone, name)
    return (0 if inspect.isfunction(value) else 1 if inspect.isclass(value) else 2, name)


def write_python(folder: Path) -> None:
    """A page a group.

    Args:
        folder: to make.
    """
    folder.mkdir()
    names = grouped()
    told: set[str] = set()
    for group, (title, intro, _) in GROUPS.items():
        parts = [_heading(title, "="), intro]
        parts += [_entry(f"mobileone.{name}", getattr(mobileone, name)) for name in names[group]]
        others = [each for name in names[group] for each in results_of(getattr(mobileone, name))]
        others = [each for each in dict.fromkeys(others) if _path_of(each) not in told]
        told.update(map(_path_of, others))
        if others:
            parts += [_heading("What these return", "-")]
            parts += [_entry(_path_of(each), each) for each in others]
        (folder / f"{group}.rst").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    listed = "\n".join(
        f"- :doc:`{GROUPS[group].title} <{group}>`: "
        + ", ".join(f":any:`{name} <mobileone.{name}>`" for name in each)
        for group, each in names.items()
    )
    index = [
        _heading("Python API", "="),
        "``import mobileone`` gives all of these.",
        listed,
        _tree([*GROUPS]),
    ]
    (folder / "index.rst").write_text("\n\n".join(index) + "\n", encoding="utf-8")


def _entry(path: str, value: Any) -> str:
    if not callable(value):
        from sphinx.pycode import ModuleAnalyzer

        name = path.rpartition(".")[2]
        about = ModuleAnalyzer.for_module(mobileone._HOME[name]).find_attr_docs()["", name]
        return f".. data:: {path}\n\n   {' '.join(about)}"
    kind = "exception" if inspect.isclass(value) and issubclass(value, BaseException) else None
    kind = kind or ("class" if inspect.isclass(value) else "function")
    members = (
        "\n   :members:" if kind == "class" else "\n   :show-inheritance:" if kind == "exception" else ""
    )
    return f".. auto{kind}:: {path}{members}"


def results_of(value: Any) -> Iterator[type]:
    """Classes of the package that a public name's functions return, and theirs, but not the public ones."""
    waiting, seen = list(_returned(value)), set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen or name in mobileone.__all__ or name not in _classes():
            continue
        seen.add(name)
        found = getattr(__import__(_classes()[name], fromlist=[name]), name)
        yield found
        waiting += _returned(found)


def _returned(value: Any) -> Iterator[str]:
    """Names in what it returns: a function, or the methods, properties and fields of a class."""
    if not inspect.isclass(value):
        annotations = [getattr(value, "__annotations__", {}).get("return", "")]
    else:
        public = [member for name, member in vars(value).items() if not name.startswith("_")]
        functions = [getattr(each, "fget", getattr(each, "__func__", each)) for each in public]
        annotations = [getattr(each, "__annotations__", {}).get("return", "") for each in functions]
        if dataclasses.is_dataclass(value):
            annotations += [field.type for field in dataclasses.fields(value)]
    for annotation in annotations:
        yield from re.findall(r"\b[A-Z]\w+", str(annotation))


@cache
def _classes() -> dict[str, str]:
    """The module of every public class of the package; their names are unique."""
    source = Path(mobileone.__file__).parent
    found = {}
    for path in source.rglob("*.py"):
        module = ".".join(["mobileone", *path.relative_to(source).with_suffix("").parts])
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name] = module
    return found


def _path_of(value: type) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def write_commands(folder: Path) -> None:
    """A page a command, from what its --help says.

    Args:
        folder: to make.
    """
    folder.mkdir()
    lines = []
    for name in COMMANDS:
        (folder / f"{name}.rst").write_text(command_page(name), encoding="utf-8")
        lines.append(f"- :doc:`mobileone {name} <{name}>`: {_plain(_first_line(name))}")
    exits = inspect.cleandoc(command_line.__doc__ or "").split("\n\n")[1]
    about = [
        _plain(paragraph) for paragraph in (*command_line.DESCRIPTION.split("\n\n"), f"Exit codes: {exits}")
    ]
    index = [_heading("Commands", "="), *about, "\n".join(lines), _tree([*COMMANDS])]
    (folder / "index.rst").write_text("\n\n".join(index) + "\n", encoding="utf-8")


def _first_line(name: str) -> str:
    return inspect.getdoc(find_command(name)).splitlines()[0]


class Option(NamedTuple):
    """A line of a command's help.

    Attributes:
        written: what stands on the command line.
        text: what it means.
    """

    written: str
    text: str


def options_of(name: str) -> dict[str, list[Option]]:
    """What a command takes, under the titles that its help has."""
    boxes: dict[str, list[Option]] = {}
    for line in help_text(read_by_parser, [name]).splitlines():
        indent = len(line) - len(line.lstrip(" "))
        if not line.strip(" -"):
            continue
        if indent == 1:
            boxes[line.strip()] = []
        elif indent == 2 and boxes:
            written, _, text = line.strip().partition("  ")
            boxes[[*boxes][-1]].append(Option(_without_none(written), text.strip()))
        elif indent > 2 and boxes:
            options = boxes[[*boxes][-1]]
            options[-1] = options[-1]._replace(text=f"{options[-1].text} {line.strip()}".strip())
    return boxes


def _without_none(written: str) -> str:
    """The parser's notation of what may be left out, left out.

    >>> _without_none("-o {None}|PATH"), _without_none("--to {None,timm,apple}")
    ('-o PATH', '--to {timm,apple}')
    """
    return written.replace("{None}|", "").replace("{None,", "{")


def command_page(name: str) -> str:
    """Its sentence, its example, and everything that it takes."""
    about = inspect.getdoc(find_command(name)) or ""
    parts = [_heading(f"mobileone {name}", "="), f".. program:: mobileone {name}"]
    for paragraph in about.split("\n\n"):
        said, example, command = paragraph.partition("Example: ")
        parts += [_plain(said.strip())] if said.strip() else []
        parts += [f".. code-block:: none\n\n   $ {' '.join(command.split())}"] if example else []
    for title, options in options_of(name).items():
        parts.append(_heading(title.capitalize(), "-"))
        for written, text in options:
            if not written.startswith("-h"):
                told = _plain(text.removesuffix("(default: None)").removesuffix("(default: )").strip())
                parts.append(f".. option:: {written}\n\n   {told}")
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """A sentence of help as reStructuredText: what stands between backticks, and flags, are code."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"(?<![\w-])(--[a-z][\w-]*)", r"`\1`", re.sub(r"([*|_\\])", r"\\\1", text))


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}"


def _tree(names: list[str]) -> str:
    return "\n".join([".. toctree::", "   :hidden:", "", *(f"   {name}" for name in names)])
