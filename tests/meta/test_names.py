"""A search for a class or a module finds one thing."""

import ast
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mobileone.cli.main import COMMANDS

SOURCE = Path(__file__).resolve().parents[2] / "src" / "mobileone"

# A command is called like the function that it runs.
COMMAND_STEMS = {name.replace("-", "_") for name in COMMANDS}
# Backends hold the same files each, by one rule.
BACKEND_STEMS = {"session", "writer", "writer_int8"}


def repeated(names: Iterable[str]) -> set[str]:
    return {name for name, times in Counter(names).items() if times > 1}


def public_classes(text: str) -> list[str]:
    """Classes at the top of a module."""
    nodes = ast.parse(text).body
    return [node.name for node in nodes if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def stems(source: Path) -> list[str]:
    """Module names that must differ: all but those of commands and within a backend."""
    return [
        path.stem
        for path in source.rglob("*.py")
        if not path.stem.startswith("__")
        and not (path.stem in COMMAND_STEMS and path.parent.name == "cli")
        and not (path.stem in BACKEND_STEMS and path.parent.parent.name == "backends")
    ]


def test_public_class_names_differ():
    texts = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")]
    assert repeated(name for text in texts for name in public_classes(text)) == set()


def test_module_names_differ():
    assert repeated(stems(SOURCE)) == set()


def test_the_guards_see_a_repetition(tmp_path):
    first, second = (
        "class A:\n    class B: ...\nclass _C: ...\n",
        "class A: ...\nclass B: ...\nclass _C: ...\n",
    )
    assert repeated([*public_classes(first), *public_classes(second)]) == {"A"}
    for path in (
        "a/run.py",
        "b/run.py",
        "cli/info.py",
        "a/info.py",
        "cli/other.py",
        "a/other.py",
        "backends/x/writer.py",
        "a/writer.py",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert repeated(stems(tmp_path)) == {"run", "other"}
