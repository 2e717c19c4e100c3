"""Builds the documentation's site: `scripts/docs [-o FOLDER]`. A warning or a dead link makes it fail."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from docs.site.links import dead_links
from docs.site.pages import ROOT, write_pages

HERE = Path(__file__).resolve().parent


def build(site: Path) -> list[str]:
    """Make the site anew.

    Args:
        site: the folder, which is replaced, but not by a site that has something wrong.

    Returns:
        What is wrong with it, a line each; none where it is as it should be.
    """
    from docs.site.reference import write_commands, write_python

    with tempfile.TemporaryDirectory() as name:
        source, made = Path(name) / "source", Path(name) / "site"
        source.mkdir()
        write_pages(source)
        write_commands(source / "commands")
        write_python(source / "python")
        wrong = render(source, made)
        if not wrong:
            shutil.rmtree(site, ignore_errors=True)
            shutil.copytree(
                made, site, ignore=shutil.ignore_patterns(".buildinfo", "objects.inv", "_sources")
            )
    return wrong


def render(source: Path, made: Path) -> list[str]:
    """Pages to HTML.

    Returns:
        Sphinx's warnings, and dead links.
    """
    from sphinx.application import Sphinx
    from sphinx.util.console import nocolor

    nocolor()
    warnings = io.StringIO()
    Sphinx(source, HERE, made, made / ".doctrees", "html", status=None, warning=warnings).build()
    shutil.rmtree(made / ".doctrees")
    said = warnings.getvalue().replace(f"{source}/", "").replace(f"{ROOT}/", "")
    return [line for line in said.splitlines() if line.strip()] + dead_links(made)


def main(arguments: list[str] | None = None) -> int:
    """Build; 0 if nothing is wrong, 1 if something is."""
    parser = argparse.ArgumentParser(prog="scripts/docs", description="Build the documentation's site.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "site", help="folder, default: site")
    site = parser.parse_args(arguments).output
    if site.exists() and any(site.iterdir()) and not (site / "searchindex.js").is_file():
        parser.error(f"{site} is something else than a site; name a new folder")
    wrong = build(site)
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        print(f"{len(wrong)} things are wrong; {site} is left as it was", file=sys.stderr)
        return 1
    print(f"{len([*site.rglob('*.html')])} pages: {site / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
