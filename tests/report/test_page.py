"""Pages that load nothing, and whose words stay words."""

import re
from html.parser import HTMLParser

from mobileone.report.page import POLICY, document, picture, sortable_table, tiles

EVIL = '<script>alert("&")</script>'


class Tags(HTMLParser):
    """Every tag with its attributes, and the text outside scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.inside = [], "", None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data


def attributes(html, tag):
    return [found for name, found in Tags(html).tags if name == tag]


def test_a_page_is_whole_and_its_title_is_text():
    html = document(EVIL, ["<h1>hello</h1>", tiles([("1 %", EVIL)])])
    assert html.startswith("<!doctype html>")
    page = Tags(html)
    assert [tag for tag, _ in page.tags].count("script") == 1, "its own, at the end"
    assert page.text.count(EVIL) == 2
    assert "hello" in page.text


def test_a_page_loads_nothing_and_says_so_to_the_browser():
    html = document("t", [picture(b"\x89PNG", alt="a")])
    assert {"http-equiv": "Content-Security-Policy", "content": POLICY} in attributes(html, "meta")
    assert "default-src 'none'" in POLICY
    sources = [each.get("src") or each.get("href") for _, each in Tags(html).tags]
    assert all(source.startswith("data:image/png;base64,") for source in sources if source)
    assert not re.search(r"@import|url\((?!data:)|https?://", html)


def test_a_picture_travels_inside_and_its_words_are_escaped():
    (image,) = attributes(picture(b"\x89PNG\r\n", alt='curves of "a"'), "img")
    assert image == {"alt": 'curves of "a"', "src": "data:image/png;base64,iVBORw0K"}


def test_cells_sort_by_their_values_not_by_what_they_show():
    rows = [[("stem <a>", "stem <a>"), ("1.5 ms", 1.5)], [("none", None), ("–", None)]]
    html = sortable_table(["layer", "time"], rows, text=["layer"])
    cells = attributes(html, "td")
    assert [cell["data-value"] for cell in cells] == ["stem <a>", "1.5", "", "-1"]
    assert [cell.get("class") for cell in cells] == ["text", None, "text", None]
    assert [head.get("class") for head in attributes(html, "th")] == ["text", None]
    assert "stem <a>" in Tags(html).text
