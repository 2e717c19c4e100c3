"""The page of made-up results."""

from html.parser import HTMLParser

from mobileone.benchmarking.bench_page import page, write_page

from .conftest import ROWS, result


class Outline(HTMLParser):
    """Open tags, and every attribute that could load something."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.links, self.circles = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.circles += tag == "circle"
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        if tag != "meta":
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    path = write_page(result(*ROWS, evaluated=True), tmp_path / "new" / "page.html")
    text = path.read_text(encoding="utf-8")
    outline = Outline(text)
    assert (outline.stack, outline.links, outline.circles) == ([], [], 3)
    assert "&lt;b&gt;bad&lt;/b&gt;" in text
    assert "<b>bad</b>" not in text
    assert "use onnx fp32, 1 thread" in text
    assert 'class="roof" points=' in text
    without = page(result(*ROWS[:1]))
    assert "<svg" in page(result(*ROWS, evaluated=True))
    assert len(Outline(without).links) == 0
