"""`mobileone web`: what it prints, what it refuses."""

import json

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
    assert f"python -m http.server -d {tmp_path / 'site'}" in out


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
    assert err.count("\n") == 1
