"""Each source file's tests lie where one looks for them: src/mobileone/a/b.py in tests/a/test_b.py."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def without_mirror(source: Path, tests: Path) -> set[str]:
    """Source files, relative to `source`, whose test is not at the mirrored path."""
    return {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
        and not (tests / path.relative_to(source).with_name(f"test_{path.name}")).exists()
    }


def test_every_source_file_has_its_tests_at_the_mirrored_path():
    assert without_mirror(ROOT / "src" / "mobileone", ROOT / "tests") == set()


def test_the_guard_sees_a_file_without_tests(tmp_path):
    for path in ("src/a/b.py", "src/a/__init__.py", "src/a/c.py", "tests/a/test_c.py", "tests/test_b.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert without_mirror(tmp_path / "src", tmp_path / "tests") == {"a/b.py"}
