"""Inside training/ the rooms stand in an order too: each imports itself and those before it."""

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "mobileone" / "training"

ORDER = ("config", "method", "watch", "run")


def upward(room: str, text: str) -> set[str]:
    """Rooms of training that a file of `room` imports and must not."""
    modules = [node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    rooms = {name.split(".")[2] for name in modules if name.startswith("mobileone.training.")}
    return {other for other in rooms if ORDER.index(other) > ORDER.index(room)}


def test_rooms_of_training_import_one_way():
    assert {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name[0] != "_"} == set(ORDER)
    wrong = {
        str(path.relative_to(SOURCE)): found
        for room in ORDER
        for path in (SOURCE / room).rglob("*.py")
        if (found := upward(room, path.read_text(encoding="utf-8")))
    }
    assert wrong == {}


def test_the_guard_sees_an_upward_import():
    text = "def f():\n    from mobileone.training.run.fit import fit\n"
    assert upward("watch", text) == {"run"}
    assert upward("run", text) == set()
