"""Dead links of a built site: files and anchors that are not there; and what a page loads from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}
"""Attributes by which a page loads something by itself; a link waits for the reader."""
WELL_FORMED = re.compile(
    r"https?://[\w.-]+\.[a-z]{2,}(:\d+)?(/\S*)?$|https?://(localhost|127\.0\.0\.1)(:\d+)?/?\S*$"
)


class Page(HTMLParser):
    """What one page has and wants.

    Attributes:
        anchors: ids.
        links: where it links to.
        loads: what it loads by itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for every element."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif (
            tag in LOADS
            and LOADS[tag] in given
            and given.get("rel") not in ("canonical", "search", "next", "prev")
        ):
            self.loads.append(given[LOADS[tag]])


def dead_links(site: Path) -> list[str]:
    """A line for everything on the site that leads nowhere.

    Links within the site must be to a file and an anchor that are there; links to elsewhere are looked at,
    not followed; pages may load nothing from elsewhere.
    """
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        for link in dict.fromkeys([*page.links, *page.loads]):
            if why := _why_dead(link, path, pages, is_loaded=link in page.loads):
                found.append(f"{where}: {link}: {why}")
    return found


def _why_dead(link: str, page: Path, pages: dict[Path, Page], *, is_loaded: bool) -> str | None:
    parts = urlsplit(link)
    if parts.scheme in ("data", "mailto"):
        return None
    if parts.scheme or parts.netloc:
        if is_loaded:
            return "loaded from elsewhere"
        return None if WELL_FORMED.match(link) else "no address"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "no such anchor"
    return None
