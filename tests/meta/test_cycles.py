"""No files import each other in a circle, not even for type checkers alone."""

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"

PUBLIC_FACE = "mobileone"


def imports(source: Path) -> dict[str, set[str]]:
    """Module name to the modules below `source` that it imports, wherever in the file."""
    paths = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in source.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                # `from package import module` means the module, `from module import name` the module too.
                own = {f"{node.module}.{alias.name}" for alias in node.names} & paths.keys()
                wanted |= own or {node.module}
        found[name] = wanted & paths.keys()
    # What all can be had from at the top imports all, and is imported for the version alone.
    return {name: wanted - {PUBLIC_FACE} for name, wanted in found.items()}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules, each of which reaches all the others of its group and itself."""
    reached = {name: set(others) for name, others in graph.items()}
    for middle in graph:  # Warshall's closure
        for name, others in reached.items():
            if middle in others:
                reached[name] = others | reached[middle]
    groups = {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in graph
        if name in reached[name]
    }
    return [set(group) for group in groups]


def test_no_files_import_each_other():
    assert circles(imports(SOURCE)) == []


def test_the_guard_sees_a_circle_for_type_checkers(tmp_path):
    (tmp_path / "a.py").write_text("if TYPE_CHECKING:\n    from b import B\n")
    (tmp_path / "b.py").write_text("def f():\n    from c import C\n")
    (tmp_path / "c.py").write_text("import a\n")
    (tmp_path / "d.py").write_text("import a\n")
    assert circles(imports(tmp_path)) == [{"a", "b", "c"}]
