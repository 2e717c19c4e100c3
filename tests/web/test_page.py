"""The page in a real browser, its worker a mock: what a user sees, presses, drops, pastes and passes on."""

import io
import json

import numpy as np
import PIL.Image
import pytest

from mobileone.web.collect import collect

from .chromium import needs_browser, running_chromium
from .conftest import network

pytestmark = [pytest.mark.browser, needs_browser]

# Hands files to the page as dropping and pasting do; made from base64, as DevTools has no clipboard of files.
HAND_OVER = """(async (event, kind, files) => {
  const given = new DataTransfer();
  for (const [name, type, data] of files)
    given.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
  if (!files.length) given.setData("text/plain", "words");
  const made = event === "paste"
    ? new ClipboardEvent("paste", { clipboardData: given, bubbles: true, cancelable: true })
    : new DragEvent(event, { dataTransfer: given, bubbles: true, cancelable: true });
  document.body.dispatchEvent(made);
})"""


@pytest.fixture(scope="module")
def address(mock_site, served):
    """Of a site with two networks, one with maps, one that differs from Python."""
    licence = {"name": "A licence", "file": "LICENCE.txt", "networks": ["good network"]}
    return served(mock_site(network("good", map=True), network("odd"), licences=[licence]))


@pytest.fixture
def tab(browser, address):
    tab = browser.open(address)
    tab.shown("#view-live")
    yield tab
    assert [fault for fault in tab.faults() if "service_worker" not in fault and "404" not in fault] == []
    tab.command("Page.close")


@pytest.fixture(scope="module")
def files(tmp_path_factory, picture):
    """A picture higher than wide, one wider than high, and no picture."""
    folder = tmp_path_factory.mktemp("files")
    picture(1, 90, 60).save(folder / "tall.jpg")
    picture(2, 60, 90).save(folder / "wide.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return [folder / "tall.jpg", folder / "wide.png", folder / "broken.jpg"]


def hand_over(tab, event, *paths):
    import base64

    kinds = {".jpg": "image/jpeg", ".png": "image/png"}
    given = [[path.name, kinds[path.suffix], base64.b64encode(path.read_bytes()).decode()] for path in paths]
    tab.evaluate(f"{HAND_OVER}({event!r}, '', {json.dumps(given)})")


def cards(tab, number):
    """Texts of the pictures' cards once that many are answered, the newest first."""
    tab.wait_for(f"document.querySelectorAll('.picture .answer, .picture .bad[role]').length === {number}")
    return tab.evaluate("[...document.querySelectorAll('.picture')].map((card) => card.innerText)")


def test_a_licence_of_weights_is_named_and_linked(tab):
    assert tab.text_of("#licences", having="A licence") == "good network: weights under A licence. "
    assert tab.evaluate("document.querySelector('#licences a').getAttribute('href')") == "LICENCE.txt"


def test_several_chosen_files_get_a_card_each(tab, files):
    tab.choose_files("#files", *files)
    tall, wide, broken = cards(tab, 3)
    assert tall.startswith("tall.jpg\nthree\n93 %\neight\n4.2 %")
    assert "60 × 90: decoding" in tall
    assert "<b>five</b>" in tall, "names are text, never markup"
    assert "Unsure" in wide
    assert "Unsure" not in tall
    assert broken == "broken.jpg\n\nThe file is no picture that this browser can read."
    assert tab.evaluate("document.querySelector('.picture img').alt") == "tall.jpg: three, 93 %"
    assert tab.evaluate("document.getElementById('spoken').textContent").startswith(
        "wide.png: Unsure, perhaps"
    )


def test_pictures_are_dropped_and_pasted(tab, files):
    tab.evaluate("location.hash = '#proved'")
    hand_over(tab, "drop", files[0], files[1])
    assert len(cards(tab, 2)) == 2
    assert not tab.evaluate("document.getElementById('view-live').hidden")
    hand_over(tab, "paste", files[0])
    assert len(cards(tab, 3)) == 3
    hand_over(tab, "paste")
    told = "document.getElementById('live-notice').textContent"
    assert tab.wait_for(told) == "What was pasted holds no picture."
    hand_over(tab, "drop")
    assert "What was dropped holds no picture" in tab.evaluate(told)
    hand_over(tab, "dragover", files[0])
    assert tab.evaluate("document.body.className") == "over"


def test_the_map_is_laid_where_the_network_looked(tab, files):
    tab.click("#live-map")
    tab.choose_files("#files", files[0])
    cards(tab, 1)
    place = tab.evaluate(
        "(({ style, width }) => [style.left, style.width, width])(document.querySelector('.picture canvas'))"
    )
    assert place == ["10%", "80%", 2]
    choose = "(select) => { select.value = 'odd'; select.dispatchEvent(new Event('change')) }"
    tab.evaluate(f"({choose})(document.getElementById('live-network'))")
    assert tab.evaluate("document.getElementById('live-map-field').hidden"), (
        "a network without maps offers none"
    )


def test_the_camera_is_answered_until_it_is_stopped(tab):
    tab.click("#camera")
    assert "frames/s, network 7.10 ms, pre-processing" in tab.text_of("#video-pace", having="frames/s")
    assert "three" in tab.evaluate("document.getElementById('video-answer').innerText")
    before = tab.evaluate("document.getElementById('video').currentTime")
    tab.wait_for(f"document.getElementById('video').currentTime > {before}")
    tab.click("#camera")
    assert tab.evaluate("document.getElementById('video').srcObject") is None
    assert tab.evaluate("document.getElementById('stage').hidden")


NO_CAMERA = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"


def refusing(name):
    """JavaScript after which the camera fails so."""
    return f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('no', '{name}') }}"


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (refusing("NotAllowedError"), "was refused"),
        (refusing("NotFoundError"), "has no camera"),
        (refusing("NotReadableError"), "in use by another"),
        (NO_CAMERA, "gives pages no camera"),
        (
            f"{NO_CAMERA} Object.defineProperty(window, 'isSecureContext', {{ value: false }})",
            "--serve --tls",
        ),
    ],
)
def test_without_a_camera_there_is_a_sentence(browser, address, before, told):
    tab = browser.open(address, before=before)
    tab.shown("#view-live")
    tab.click("#camera")
    assert told in tab.text_of("#live-notice")
    assert tab.evaluate("document.getElementById('camera').ariaDisabled") is None
    tab.command("Page.close")


def test_a_refusal_by_the_browser_itself(tmp_path, address):
    with running_chromium(
        tmp_path / "profile", "--use-fake-device-for-media-stream", "--deny-permission-prompts"
    ) as own:
        tab = own.open(address)
        tab.shown("#view-live")
        tab.click("#camera")
        assert "was refused" in tab.text_of("#live-notice")


@pytest.mark.parametrize(
    ("before", "lack"),
    [
        ("delete window.WebAssembly", "lacks WebAssembly,"),
        ("delete window.Worker", "lacks workers,"),
        ("delete window.OffscreenCanvas", "lacks pictures in workers,"),
        ("window.Worker = class { constructor() { throw new TypeError('no modules') } }", "no modules"),
    ],
)
def test_an_old_browser_gets_a_sentence(browser, address, before, lack):
    tab = browser.open(address, before=before)
    assert lack in tab.wait_for(
        f"document.getElementById('notice').textContent.includes({lack!r}) && document.body.innerText"
    )
    tab.command("Page.close")


def test_a_browser_without_script_or_modules_gets_a_sentence(browser, address):
    tab = browser.open("about:blank#")
    tab.command("Emulation.setScriptExecutionDisabled", value=True)
    tab.command("Page.navigate", url=address)
    for _ in range(100):
        found = tab.command("DOMSnapshot.captureSnapshot", computedStyles=[])["strings"]
        if any("this browser cannot run the page" in " ".join(text.split()) for text in found):
            break
    else:
        raise AssertionError("a blank page")
    tab.command("Page.close")


def test_without_simd_there_is_a_sentence(browser, mock_site, served):
    folder = mock_site(network("good"))
    worker = folder / "worker.js"
    worker.write_text(worker.read_text().replace("simd: true", "simd: false"))
    tab = browser.open(served(folder))
    assert "lacks SIMD" in tab.wait_for(
        "document.getElementById('notice').textContent.includes('SIMD, so') && document.body.innerText"
    )
    tab.command("Page.close")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "site.json").unlink(), "site.json: 404"),
        (lambda folder: (folder / "site.json").write_text("{"), "not of the form mobileone.site/1"),
        (
            lambda folder: (folder / "site.json").write_text('{"format": "x"}'),
            "not of the form mobileone.site/1",
        ),
        (lambda folder: (folder / "worker.js").unlink(), "worker"),
    ],
)
def test_a_damaged_site_says_so(browser, mock_site, served, damage, told):
    folder = mock_site(network("good"))
    damage(folder)
    tab = browser.open(served(folder))
    assert told in tab.wait_for(
        "!document.getElementById('notice').textContent.startsWith('Starting') && document.body.innerText"
    )
    tab.command("Page.close")


def test_a_network_that_is_lost_is_told_where_it_is_wanted(browser, mock_site, served):
    tab = browser.open(f"{served(mock_site(network('lost')))}#measured")
    tab.shown("#view-measured")
    tab.click("#measure")
    assert tab.text_of("#measured-notice") == ("lost.bin could not be fetched: is this device online?")
    assert tab.evaluate("document.getElementById('share').hidden"), (
        "nothing was measured, so there is nothing to pass on"
    )
    tab.command("Page.close")


def test_a_network_that_fails_does_not_keep_others_from_being_measured(browser, mock_site, served):
    tab = browser.open(f"{served(mock_site(network('lost'), network('good')))}#measured")
    tab.shown("#view-measured")
    assert [each["network"]["title"] for each in measured(tab)["measurements"]] == ["good network"] * 2
    assert tab.text_of("#measured-notice") == "lost.bin could not be fetched: is this device online?"
    tab.command("Page.close")


def measured(tab):
    """Measure everything; what the page then copies as JSON."""
    tab.evaluate("location.hash = '#measured'")
    tab.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    tab.click("#measure")
    tab.text_of("#progress-text", having="Done.")
    tab.click("#copy-json")
    return json.loads(tab.wait_for("window.copied"))


def test_a_result_is_measured_copied_and_comes_back_by_its_link(tab, browser):
    result = measured(tab)
    assert result["format"] == "mobileone.web/1"
    assert [(each["network"]["title"], each["threads"]) for each in result["measurements"]] == [
        ("good network", 1),
        ("good network", 2),
        ("odd network", 1),
        ("odd network", 2),
    ]
    assert all(len(each["milliseconds"]) == 100 for each in result["measurements"])
    assert [each["differing"] for each in result["proofs"]] == [0, 0, 3, 3]
    assert (
        len(
            tab.evaluate(
                "[...document.querySelectorAll('#measurements svg')].map((s) => s.getAttribute('aria-label'))"
            )
        )
        == 4
    )
    tab.evaluate("window.copied = ''; document.getElementById('copy-link').click()")
    link = tab.wait_for("window.copied")
    told = collect([link])
    assert sorted((each.network, each.threads, each.milliseconds) for each in told) == sorted(
        (each["network"]["title"], each["threads"], tuple(each["milliseconds"]))
        for each in result["measurements"]
    )
    other = browser.open("about:blank#")
    other.go(link)
    other.shown("#comparison tbody tr")
    cells = "[...document.querySelectorAll('#comparison tbody tr')].map((row) => row.innerText.split('\t'))"
    rows = other.evaluate(cells)
    assert len(rows) == 4
    assert {row[9] for row in rows} == {"same", "differs"}
    assert other.evaluate("location.hash") == "#measured", "the address no longer carries the result"
    other.evaluate("document.getElementById('forget').click()")
    assert other.evaluate("document.querySelectorAll('#comparison tr').length") == 0
    other.command("Page.close")


def add(tab, text):
    """Paste results of others, and press Add."""
    tab.evaluate(f"document.getElementById('others').value = {json.dumps(text)}")
    tab.click("#add-others")


def test_results_of_others_are_kept_compared_and_checked(tab):
    result = measured(tab)
    result["device"]["name"] = "Another <b>phone</b>"
    add(tab, json.dumps([result]))
    tab.wait_for("document.querySelectorAll('#comparison tbody tr').length === 8")
    assert "Another <b>phone</b>" in tab.evaluate("document.getElementById('comparison').innerText")
    told = "document.getElementById('others-notice').textContent"
    for text, reason in (
        ("words", "must be JSON as this page copies it, or its link"),
        ('{"format": "mobileone.web/1"}', "made is missing"),
        (json.dumps(result | {"measurements": [{}]}), "measurements[0].network is missing"),
        (json.dumps(result | {"format": "x"}), 'format is not "mobileone.web/1"'),
        ("http://localhost/#result=AAAA", "damaged"),
    ):
        add(tab, text)
        assert reason in tab.wait_for(f"{told}.includes({json.dumps(reason)}) && {told}")
    assert tab.evaluate("document.querySelectorAll('#comparison tbody tr').length") == 8
    tab.evaluate("location.reload()")
    tab.wait_for("document.querySelectorAll('#comparison tbody tr').length === 4")
    tab.click("#forget")


def test_a_sustained_run_is_a_curve_and_can_be_stopped(tab):
    tab.evaluate("location.hash = '#measured'; document.getElementById('plan-sustained').click()")
    tab.click("#measure")
    tab.text_of("#progress-text", having=" of 60 s")
    tab.wait_for("/: [1-9] of 60 s/.test(document.getElementById('progress-text').textContent)")
    tab.click("#stop")
    tab.text_of("#progress-text", having="Stopped.")
    assert tab.evaluate("document.querySelector('#measurements .curve') !== null")


def test_what_differs_from_python_is_said(tab):
    tab.evaluate("location.hash = '#proved'")
    tab.wait_for("document.querySelectorAll('#proofs .badge').length === 6")
    text = tab.evaluate("document.getElementById('proofs').innerText")
    assert "same 1 thread: the same integers as in Python, all 28 to the last bit. Kernels: simd128." in text
    assert "2 threads: before, relaxed SIMD gave other integers on this device; it is not used" in text
    assert "differs 2 threads: 3 of 28 integers differ from Python's, by 0.25 at most." in text
    assert "3.9 % of its values, by 2 at most. That is allowed." in text


def test_what_only_rounds_is_close_and_what_is_lost_is_not_run(browser, mock_site, served):
    rounding = network("rounding", runtime="litert")
    tab = browser.open(f"{served(mock_site(rounding, network('lost')))}#proved")
    tab.wait_for("document.querySelectorAll('#proofs .badge').length === 5")
    text = tab.evaluate("document.getElementById('proofs').innerText")
    assert "close 1 thread: 3 of 28 numbers differ from Python's, by 1.6e-7 of the greatest at most." in text
    assert "not run 2 threads: lost.bin could not be fetched" in text
    tab.command("Page.close")


def test_everything_has_a_name_and_is_reached_by_keyboard(tab):
    unnamed = """[...document.querySelectorAll('button, a, input, select, textarea, progress, video')]
      .filter((each) => !(each.innerText || each.getAttribute('aria-label') || each.labels?.length))
      .map((each) => each.outerHTML)"""
    assert tab.evaluate(unnamed) == []
    order = []
    for _ in range(9):
        tab.press("Tab")
        order.append(tab.evaluate("document.activeElement.id || document.activeElement.innerText"))
    assert order == [
        "Skip to content",
        "Live",
        "Measured",
        "Proved",
        "live-network",
        "live-threads",
        "live-map",
        "camera",
        "files",
    ]
    tab.press("Tab", shift=True)
    tab.press("Enter")
    tab.shown("#stage")
    tab.press("Enter")
    tab.wait_for("document.getElementById('stage').hidden")
    live = tab.evaluate(
        "[...document.querySelectorAll('[role=status], [role=alert]')].map((each) => each.id)"
    )
    assert {"notice", "spoken", "live-notice", "progress-text", "copied", "proofs"} <= set(live)
    assert tab.evaluate("document.documentElement.lang") == "en"
    assert tab.evaluate("document.querySelectorAll('h1').length") == 1


def test_the_policy_allows_no_code_but_files_of_the_site(tab):
    assert tab.evaluate("crossOriginIsolated"), "the server's headers"
    assert "unsafe-inline" not in tab.evaluate("document.querySelector('meta[http-equiv]').content")
    inline = "Object.assign(document.createElement('script'), { textContent: 'window.bad = 1' })"
    tab.evaluate(f"document.body.append({inline})")
    assert tab.evaluate("window.bad") is None
    assert any("Content Security Policy" in fault for fault in tab.faults())
    tab.browser.events.clear()


@pytest.mark.parametrize("size", [(360, 740), (1280, 800)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_shows_something(tab, files, size, scheme):
    tab.resize(*size)
    tab.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.choose_files("#files", *files)
    cards(tab, 3)
    for view in ("live", "measured", "proved"):
        tab.evaluate(f"location.hash = '#{view}'")
        tab.wait_for(f"!document.getElementById('view-{view}').hidden")
        assert tab.evaluate("document.documentElement.scrollWidth") <= size[0], (
            f"{view} is wider than the screen"
        )
        pixels = np.asarray(PIL.Image.open(io.BytesIO(tab.screenshot())).convert("L")).astype(int)
        assert pixels.shape == (size[1], size[0])
        assert (pixels.mean() > 128) == (scheme == "light")
        assert (abs(pixels - pixels[-1, 0]) > 60).mean() > 0.005, f"{view} is blank"


def test_it_can_be_installed(tab):
    told = tab.command("Page.getAppManifest")
    assert told["errors"] == []
    manifest = json.loads(told["data"])
    for icon in manifest["icons"]:
        assert tab.evaluate(f"fetch({icon['src']!r}).then((answer) => answer.ok)"), icon
