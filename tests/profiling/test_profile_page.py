"""The HTML page, also in a real browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image

from mobileone.errors import MobileOneError
from mobileone.profiling.comparison import ProfileComparison
from mobileone.profiling.profile_page import page, write_page

from .conftest import profile_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

# Presses headings and writes down what a reader would see.
PROBE = """
<script>
const table = document.querySelectorAll("table")[2];  // layers
const order = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
const press = (name) => [...table.querySelectorAll("th button")].find((b) => b.textContent === name).click();
const seen = { before: order() };
press("MMAC"); seen.falling = order(); press("MMAC"); seen.rising = order();
press("layer"); seen.named = order();
seen.sorted = [...table.querySelectorAll("th[aria-sort]")].map((th) => th.textContent);
seen.width = document.documentElement.scrollWidth;
seen.screen = document.documentElement.clientWidth;
seen.marks = document.querySelectorAll("svg .dot").length;
seen.background = getComputedStyle(document.body).backgroundColor;
document.body.innerHTML = "";
document.body.textContent = "PROBE" + JSON.stringify(seen) + "PROBE";
</script>
"""


class Outline(HTMLParser):
    """Tags, and every attribute that could load something."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "line", "polyline", "circle", "rect"):
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if tag not in ("circle", "rect"):
            assert self.open.pop() == tag


def browse(folder, path, *options):
    """Run the browser without a window, without a network and with an empty profile; what it printed."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run([*command, *options, path.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def probed(folder, *options):
    import json

    path = folder / "probe.html"
    text = page(profile_of("mobileone_s0"))
    path.write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    printed = browse(folder, path, "--dump-dom", *options)
    found = re.search(r"PROBE(\{.*\})PROBE", printed)
    assert found, printed[:500]
    return json.loads(found.group(1))


def test_the_page_is_whole_and_loads_nothing():
    text = page(profile_of("mobileone_s0"))
    outline = Outline(text)
    assert outline.open == []
    assert outline.links == []
    assert not re.search(r"https?://|@import|url\(", text)
    assert text.count("<table>") == 3
    assert text.count('class="dot') == 44, "one mark for each layer with multiply-accumulates"


def test_names_are_escaped():
    text = page(profile_of("mobileone_s0"))
    assert "&lt;processor&gt; &amp; more" in text
    assert "<processor>" not in text


def test_a_comparison_shows_both():
    pair = ProfileComparison(profile_of("mobileone_s0", form="train"), profile_of("mobileone_s0"))
    text = page(pair)
    assert Outline(text).open == []
    assert text.count("<table>") == 2 + 3 + 3
    assert "mobileone_s0:train" in text


def test_without_ceilings_there_is_no_roofline():
    assert "<svg" not in page(profile_of("mobileone_s0", machine=None))


def test_nothing_half_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MobileOneError, match="cannot write"):
        write_page(profile_of("mobileone_s0"), tmp_path / "file" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@needs_browser
def test_tables_sort_in_a_browser(tmp_path):
    seen = probed(tmp_path, "--window-size=1200,900")
    assert seen["before"][:2] == ["stem.reparam_conv", "stem.act"]
    assert seen["falling"][0] == "stem.reparam_conv"  # 16.3 M, the most of any layer
    assert seen["rising"][-1] == "stem.reparam_conv"
    assert seen["named"].index("stages.2.2.act") < seen["named"].index("stages.2.10.act")
    assert seen["named"] != seen["before"]
    assert seen["sorted"] == ["layer"]
    assert seen["marks"] == 44
    assert seen["background"] == "rgb(255, 255, 255)"


@needs_browser
@pytest.mark.slow
def test_a_phone_need_not_scroll_sideways(tmp_path):
    seen = probed(tmp_path, "--window-size=390,800")
    assert seen["width"] <= seen["screen"] <= 500


@needs_browser
@pytest.mark.slow
def test_light_and_dark_look_apart(tmp_path):
    path = write_page(profile_of("mobileone_s0"), tmp_path / "page.html")
    corners = {}
    for mode, option in (
        ("light", "--blink-settings=preferredColorScheme=1"),
        ("dark", "--blink-settings=preferredColorScheme=0"),
    ):
        shot = tmp_path / f"{mode}.png"
        browse(tmp_path, path, option, "--window-size=1200,3000", f"--screenshot={shot}")
        with Image.open(shot) as image:
            corners[mode] = image.convert("RGB").getpixel((3, 3))
            assert len(image.convert("RGB").getcolors(2**22)) > 100, "an empty picture"
    assert corners == {"light": (255, 255, 255), "dark": (20, 23, 28)}
