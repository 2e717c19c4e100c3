"""The commands, names and links in README and docs/ are real."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from docs.site.blocks import FENCE, blocks

import mobileone
from mobileone.cli.main import read_command
from mobileone.cli.usage import parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def command_lines(text: str) -> list[list[str]]:
    """Arguments of every `mobileone …` line in a page's code blocks, also behind torchrun … -m."""
    found = []
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            if match := re.match(r"\s*(?:\$ )?(?:torchrun .* -m )?(?:\S*/)?mobileone (.*)", line):
                found.append(shlex.split(match[1], comments=True))
    return found


def public_names(text: str) -> set[str]:
    """What the page's Python blocks take from the package: `mobileone.NAME`."""
    nodes = [node for block in blocks(text, "python") for node in ast.walk(ast.parse(block))]
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "mobileone"
    }


def deep_imports(text: str) -> list[str]:
    """What the page's Python blocks import from within the package; `mobileone.NAME` is all one needs."""
    python = "\n".join(blocks(text, "python"))
    return re.findall(r"^\s*(?:from|import) (mobileone\.[\w.]+)", python, re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there."""
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse_names_exist_and_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for arguments in command_lines(text):
        parse(read_command, arguments, prog="mobileone")
    assert public_names(text) <= set(mobileone.__all__)
    assert deep_imports(text) == []
    assert dead_links(page) == []


def test_the_guard_sees_a_wrong_command_and_a_wrong_name(capsys):
    page = "```\n$ mobileone test model --nonsense\n```\n```python\nmobileone.no_such_thing(1)\n```\n"
    (arguments,) = command_lines(page)
    with pytest.raises(SystemExit):
        parse(read_command, arguments, prog="mobileone")
    assert public_names(page) == {"no_such_thing"}
    assert deep_imports("```python\nfrom mobileone.errors import DataError\n```\n") == ["mobileone.errors"]


def test_the_guard_sees_dead_links(tmp_path):
    (tmp_path / "a.md").write_text("# A `b`, c\n[1](#a-b-c) [2](a.md#a-b-c) [3](b.md) [4](#a) [5](a.md#d)\n")
    assert dead_links(tmp_path / "a.md") == ["b.md", "#a", "a.md#d"]


def test_readme_has_the_commands_people_look_for():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(command_lines(text)) >= 8
    for command in (
        "scripts/demo",
        "scripts/test",
        "scripts/check",
        "bash main.sh 8 --train",
        "main.py --test",
    ):
        assert command in text
