"""`mobileone web`: what it prints, what it refuses."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from mobileone.exporting.parity import seeded_pictures
from mobileone.quantization.quantize import quantize


@pytest.fixture(scope="module")
def net(tmp_path_factory, small_network):
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    path = tmp_path_factory.mktemp("net") / "net.c"
    quantize(small_network, path, images=seeded_pictures(small_network.input_spec, number=4), format="c")
    return path


def test_it_says_what_was_built_and_how_to_look_at_it(run, net, tmp_path):
    code, out, _ = run("web", net, "-o", tmp_path / "site")
    assert code == 0
    assert f"wrote {tmp_path / 'site'}, " in out
    assert "tiny, int8: networks/tiny-int8." in out
    assert f"mobileone web --serve -o {tmp_path / 'site'}" in out


def test_json_says_the_same(run, net, tmp_path):
    _, out, _ = run("web", net, "-o", tmp_path / "site", "--json")
    found = json.loads(out)
    assert [each["id"] for each in found["networks"]] == ["tiny-int8"]
    assert found["bytes"] > found["networks"][0]["bytes"]
    code, _, err = run("web", net, "-o", tmp_path / "site")
    assert code == 1
    assert "exists already; pass --force" in err


def test_a_float_model_needs_photos(run, tmp_path):
    code, _, err = run("web", "mobileone_s0", "-o", tmp_path / "site")
    assert code == 1
    assert "float model; give --calib" in err
    assert (
        "--runtime-archive needs --runtime"
        in run("web", "s0.c", "-o", tmp_path / "site", "--runtime-archive", "core.tgz")[2]
    )
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give --output, the folder to make"),
        (["-o", "site"], "name at least one MODEL, or give --serve"),
        (["-o", "site", "--tls", "net.c"], "--tls is for serving: give --serve too"),
        (["-o", "site", "--png", "all.png", "net.c"], "--png draws results: give --collect FILE"),
        (["-o", "site", "--collect", "a.json"], "--collect takes results alone"),
        (["--collect", "none.json"], "cannot read none.json: No such file"),
        (["--collect", "none.json", "--png", "all.jpg"], "must end in .png"),
        (["--serve", "-o", "none"], "none is no site: it has no index.html"),
        (["--serve", "-o", "none", "--host", "nowhere.invalid"], "none is no site"),
    ],
)
def test_what_does_not_go_together_is_one_line(run, arguments, told):
    code, out, err = run("web", *arguments)
    assert (code, out) == (1, "")
    assert told in err
    assert err.count("\n") == 1


def test_tls_without_the_extra_is_refused_before_anything_is_built(run, net, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    code, _, err = run("web", net, "-o", tmp_path / "site", "--serve", "--tls")
    assert code == 1
    assert "[web]" in err
    assert list(tmp_path.iterdir()) == []


def test_results_are_compared(run, tmp_path):
    from tests.web.test_collect import result

    (tmp_path / "phones.json").write_text(json.dumps([result(), result("iPhone", median=4.0)]))
    code, out, _ = run("web", "--collect", tmp_path / "phones.json")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["device", "iPhone", "Pixel"]
    code, out, _ = run("web", "--collect", tmp_path / "phones.json", "--json")
    assert [each["median_ms"] for each in json.loads(out)] == [4, 7]
    pytest.importorskip("matplotlib", reason="needs the extra train")
    run("web", "--collect", tmp_path / "phones.json", "--png", tmp_path / "all.png")
    assert (tmp_path / "all.png").stat().st_size > 1000


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_site_is_served_until_it_is_told_to_stop(tmp_path):
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "site.json").write_text("{}")
    command = [sys.executable, "-m", "mobileone", "web", "--serve", "-o", tmp_path, "--host", "127.0.0.1"]
    with subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r" at (http://127\.0\.0\.1:\d+/)$", process.stderr.readline().strip())[1]
            assert urllib.request.urlopen(address, timeout=20).read() == b"the page"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.stderr.read().splitlines() == ["stopped"]
        assert process.wait(30) == 0
