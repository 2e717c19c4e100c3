"""The browser under test does what the tests think it does."""

import io

import numpy as np
import PIL.Image
import pytest

from .chromium import needs_browser, running_chromium

pytestmark = [pytest.mark.browser, needs_browser]

PAGE = """<!doctype html><title>t</title><body style="background: rgb(1, 2, 3)"><input type="file" multiple>
<button onclick="document.title = 'pressed'">go</button>"""


def test_it_runs_shows_presses_and_tells_of_faults(tmp_path):
    (tmp_path / "page.html").write_text(PAGE)
    with running_chromium(tmp_path / "profile") as browser:
        tab = browser.open((tmp_path / "page.html").as_uri(), size=(360, 740))
        assert tab.evaluate("(async () => { return 6 * 7 })()") == 42
        pixels = np.asarray(PIL.Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))
        assert pixels.shape == (740, 360, 3)
        assert tuple(pixels[700, 300]) == (1, 2, 3)
        tab.choose_files("input", tmp_path / "page.html")
        assert tab.evaluate("document.querySelector('input').files[0].name") == "page.html"
        for _ in range(2):
            tab.press("Tab")
        tab.press("Enter")
        assert tab.wait_for("document.title") == "pressed"
        assert tab.faults() == []
        tab.evaluate("setTimeout(() => { throw new Error('on purpose') }, 0)")
        tab.evaluate("new Promise((done) => setTimeout(done, 50))")
        assert "on purpose" in tab.faults()[0]
