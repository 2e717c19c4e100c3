"""The camera ends when it is stopped, also before the browser has allowed it."""

import json
import shutil

import pytest

from .chromium import needs_browser
from .conftest import STATIC, network
from .test_static import printed_by_node

# A browser whose camera is allowed, or refused, when the test says so.
LATE = """
  const [tracks, asked] = [[], []];
  const granted = () => {
    const track = { on: true, stop() { this.on = false }, addEventListener() {} };
    tracks.push(track);
    return { getTracks: () => [track], getVideoTracks: () => [track] };
  };
  const ask = (allow, refuse) => asked.push({ allow: () => allow(granted()), refuse });
  const getUserMedia = () => new Promise(ask);
  Object.defineProperty(globalThis, "navigator", { value: { mediaDevices: { getUserMedia } } });
  const camera = new Camera({ play: async () => {}, srcObject: null });
"""
# The page's own, held back until `allow()`.
HELD_BACK = """
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    await new Promise((allow) => { globalThis.allow = allow });
    return (globalThis.given = await real(wanted));
  };
"""


def answered(program):
    """What a program with the late browser prints."""
    start = f"import {{ Camera }} from {json.dumps((STATIC / 'camera.js').as_uri())};"
    return printed_by_node(f"{start}{LATE}{program}")


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
def test_one_that_is_stopped_before_it_is_allowed_never_runs():
    found = answered("""
      const started = camera.start();
      camera.stop();
      asked[0].allow();
      const stream = await started;
      console.log(JSON.stringify([stream, camera.isOn, camera.video.srcObject, tracks[0].on]));
    """)
    assert found == [None, False, None, False]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
@pytest.mark.parametrize(
    ("late", "on"), [("allow()", [True, False]), ("refuse(new DOMException('', 'NotAllowedError'))", [True])]
)
def test_one_that_was_stopped_does_not_disturb_the_next(late, on):
    found = answered(f"""
      const first = camera.start();
      camera.stop();
      const second = camera.start();
      asked[1].allow();
      const stream = await second;
      asked[0].{late};
      const none = await first;
      console.log(JSON.stringify([none, camera.stream === stream, tracks.map((track) => track.on)]));
    """)
    assert found == [None, True, on]


@pytest.mark.browser
@needs_browser
def test_the_page_stays_without_it_where_another_view_was_opened_meanwhile(browser, mock_site, served):
    tab = browser.open(served(mock_site(network("net"))), before=HELD_BACK)
    tab.shown("#view-live")
    tab.click("#camera")
    tab.wait_for("!!globalThis.allow")
    tab.evaluate("location.hash = '#proved'")
    tab.shown("#view-proved")
    tab.evaluate("allow()")
    tab.wait_for("globalThis.given?.getTracks().every((track) => track.readyState === 'ended')")
    assert tab.evaluate("document.getElementById('stage').hidden")
    assert tab.evaluate("document.getElementById('camera').textContent") == "Start camera"
    # Stopping what is shown, to turn it, does not end what was asked for.
    tab.evaluate("location.hash = '#live'")
    for button in ("#camera", "#camera-turn"):
        tab.evaluate("globalThis.allow = null; document.querySelector('#camera-turn').hidden = false")
        tab.click(button)
        tab.wait_for("!!globalThis.allow")
        tab.evaluate("allow()")
        tab.text_of("#video-pace", having="frames/s")
        tab.wait_for("globalThis.given.active && document.getElementById('video').srcObject === given")
        tab.shown("#stage")
    tab.command("Page.close")
