"""The page with a real network in it: built, served by https, classified, measured, proved, offline."""

import threading

import pytest

from mobileone.exporting.parity import seeded_pictures
from mobileone.inference.predictor import Predictor
from mobileone.quantization.quantize import quantize
from mobileone.serving.listen import listen
from mobileone.web.build_site import build_site
from mobileone.web.host import SiteServer

from .chromium import needs_browser, running_chromium

pytestmark = [pytest.mark.browser, needs_browser]


@pytest.fixture(scope="module")
def net(tmp_path_factory, small_network):
    pytest.importorskip("ziglang", reason="needs the extra c")
    path = tmp_path_factory.mktemp("net") / "net.c"
    return quantize(
        small_network, path, images=seeded_pictures(small_network.input_spec, number=4), format="c"
    ).path


@pytest.fixture(scope="module")
def site(net, tmp_path_factory):
    return build_site([net], tmp_path_factory.mktemp("built") / "site").path


def test_a_picture_is_classified_as_in_python_measured_and_proved(
    browser, served, net, site, picture, tmp_path
):
    picture(5, 70, 90).save(tmp_path / "photo.png")
    tab = browser.open(served(site), size=(360, 740))
    tab.shown("#view-live")
    tab.choose_files("#files", tmp_path / "photo.png")
    tab.shown(".picture .answer")
    wanted = Predictor.load(net)(tmp_path / "photo.png").scores
    names = tab.evaluate(
        "[...document.querySelectorAll('.picture .answer .name')].map((each) => each.textContent)"
    )
    assert names == [f"class {each.index}" for each in wanted]
    tab.click("#live-map")
    tab.choose_files("#files", tmp_path / "photo.png")
    tab.shown(".picture canvas.map")
    tab.click("#camera")
    tab.text_of("#video-pace", having="frames/s")
    tab.evaluate("location.hash = '#measured'")
    tab.shown("#view-measured")
    tab.click("#measure")
    tab.text_of("#progress-text", having="Done.")
    assert tab.evaluate("document.querySelectorAll('#measurements .card').length") == 2, "one thread and two"
    assert tab.evaluate("document.querySelectorAll('#proofs .badge.good').length") == 3
    assert tab.evaluate("document.querySelectorAll('#proofs .badge.bad').length") == 0
    assert tab.faults() == []
    tab.command("Page.close")


def test_a_picture_of_100_megapixels_and_no_picture_are_sentences(browser, served, site, tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10_001) * 10_000)
    large = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(large)
    (tmp_path / "none.jpg").write_bytes(b"nothing")
    tab = browser.open(served(site))
    tab.shown("#view-live")
    tab.choose_files("#files", tmp_path / "large.png", tmp_path / "none.jpg")
    tab.wait_for("document.querySelectorAll('.picture .bad[role=alert]').length === 2")
    told = tab.evaluate("[...document.querySelectorAll('.picture')].map((each) => each.innerText)")
    assert "too large: 10000×10000 pixels" in told[0]
    assert "no picture, or none that this browser can decode" in told[1]
    assert tab.faults() == []
    tab.command("Page.close")


def test_over_tls_with_a_certificate_of_its_own_the_page_has_threads_and_a_camera(
    site, tmp_path, monkeypatch
):
    pytest.importorskip("cryptography", reason="needs the extra web")
    from mobileone.web.self_signed import self_signed

    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "cache"))
    listener = listen("127.0.0.1", 0)
    server = SiteServer(listener, site, certificate=self_signed("127.0.0.1"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--ignore-certificate-errors",
    )
    with running_chromium(tmp_path / "profile", *flags) as own:
        tab = own.open(f"https://127.0.0.1:{server.server_address[1]}/")
        tab.shown("#view-live")
        assert tab.evaluate("crossOriginIsolated")
        tab.click("#camera")
        tab.text_of("#video-pace", having="frames/s")
    server.shutdown()
    server.server_close()
