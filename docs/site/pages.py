"""The site's pages: the repository's Markdown as it is, in an order, its links made those of the site."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

NAVIGATION = {
    "Start": ("docs/tutorial.md", "examples/first_steps.ipynb"),
    "Train": (
        "docs/data.md",
        "docs/training.md",
        "docs/seeing.md",
        "docs/results.md",
        "docs/fault_tolerance.md",
        "docs/several_machines.md",
        "docs/online.md",
    ),
    "Fuse and export": ("docs/fusion.md", "docs/checkpoints.md", "docs/export.md", "docs/quantization.md"),
    "Native and web": ("docs/native.md", "docs/web.md"),
    "Measure and decide": ("docs/benchmarking.md", "docs/cost.md", "docs/decisions.md"),
    "Operate": ("docs/deploy.md", "docs/scale.md", "docs/security.md", "docs/errors.md"),
    "Reference": ("commands/index", "python/index"),
    "Project": ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
}
"""By what a reader wants; a path without a suffix is a page that is generated."""

NAMES = {"README.md": "index", "SECURITY.md": "reporting"}
"""On the site, where it is not the file's own in small letters."""

LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCED = re.compile(r"^(?:```.*?^```|~~~.*?^~~~)$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def site_name(path: str) -> str:
    """A page's name on the site, of its path in the repository.

    >>> site_name("docs/training.md"), site_name("README.md"), site_name("python/index")
    ('training', 'index', 'python/index')
    """
    return NAMES.get(path, Path(path).stem.lower()) if Path(path).suffix else path


def pages() -> list[str]:
    """Paths in the repository of every page that is a file there, README first."""
    listed = [path for paths in NAVIGATION.values() for path in paths]
    return ["README.md", *(path for path in listed if Path(path).suffix)]


def outside_code(change: Callable[[str], str], text: str) -> str:
    """A page with everything but its code changed."""
    kept = [match.span() for match in FENCED.finditer(text)]
    parts, at = [], 0
    for start, end in kept:
        parts += [change(text[at:start]), text[start:end]]
        at = end
    return "".join([*parts, change(text[at:])])


def write_pages(source: Path) -> None:
    """Lay out every page, and what they show or link to, for Sphinx.

    Args:
        source: an empty folder.
    """
    known = pages()
    for path in known:
        target = source / f"{site_name(path)}{Path(path).suffix}"
        if path.endswith(".ipynb"):
            shutil.copy(ROOT / path, target)
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        text = outside_code(lambda part, path=path: _with_links(part, path, known, source), text)
        target.write_text(text + (_contents() if path == "README.md" else ""), encoding="utf-8")


def _with_links(text: str, path: str, known: list[str], source: Path) -> str:
    def on_site(match: re.Match[str]) -> str:
        linked = os.path.normpath((ROOT / path).parent.relative_to(ROOT) / match[1])
        anchor = match[2] or ""
        if linked in known:
            return f"{site_name(linked)}{Path(linked).suffix}{anchor}"
        if not (ROOT / linked).is_file():
            return match[0]  # for Sphinx to complain about
        if Path(linked).suffix in (".jpg", ".png", ".svg"):
            shutil.copy(ROOT / linked, source)
            return Path(linked).name
        return _shown_file(linked, source)

    return LINK.sub(on_site, text)


def _shown_file(path: str, source: Path) -> str:
    """A page that shows a file of the repository; its name."""
    name = f"files/{Path(path).name}.md"
    text = (ROOT / path).read_text(encoding="utf-8")
    language = "json" if path.endswith(".json") else "none"
    (source / "files").mkdir(exist_ok=True)
    parts = [
        "---\norphan: true\n---",
        f"# {Path(path).name}",
        f"`{path}`",
        f"~~~~~{language}\n{text.rstrip()}\n~~~~~",
    ]
    (source / name).write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return name


def _contents() -> str:
    """The navigation, as Sphinx wants it at the end of the first page."""
    trees = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *map(site_name, paths), "```"])
        for title, paths in NAVIGATION.items()
    ]
    return "\n" + "\n\n".join(trees) + "\n"
