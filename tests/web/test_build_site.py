"""A folder with everything a page needs, or nothing."""

import hashlib
import json
import re
import stat
from importlib.resources import files

import pytest
import torch

from mobileone import c_compiler
from mobileone.checkpoint.store import save_model
from mobileone.decision import Decision
from mobileone.errors import ConfigError, DataError, ExportError, MissingExtraError
from mobileone.exporting.parity import seeded_pictures
from mobileone.model.create import create_model
from mobileone.quantization.quantize import quantize
from mobileone.web.build_site import build_site


@pytest.fixture(scope="module")
def net(tmp_path_factory, small_network):
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    path = tmp_path_factory.mktemp("net") / "net.c"
    small_network.class_names = tuple(f"kind {number}" for number in range(7))
    small_network.decision = Decision(temperatures=(2.0,), thresholds=(0.5,))
    quantize(small_network, path, images=seeded_pictures(small_network.input_spec, number=4), format="c")
    small_network.class_names = small_network.decision = None
    return path


@pytest.fixture(scope="module")
def site(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "site"
    return build_site([net, net], folder)


def test_site_json_says_what_the_page_needs(site, net):
    found = json.loads((site.path / "site.json").read_text(encoding="utf-8"))
    assert found["format"] == "mobileone.site/1"
    assert [each["id"] for each in found["networks"]] == ["tiny-int8", "tiny-int8-2"]
    first = found["networks"][0]
    content = (site.path / first["file"]).read_bytes()
    assert first["sha256"] == hashlib.sha256(content).hexdigest()
    assert first["bytes"] == len(content)
    relaxed = (site.path / first["relaxed"]["file"]).read_bytes()
    assert first["relaxed"]["sha256"] == hashlib.sha256(relaxed).hexdigest()
    assert b"relaxed_signed" in relaxed
    assert b"relaxed" not in content
    assert first["classes"] == [f"kind {number}" for number in range(7)]
    assert len(first["golden"]) == 3
    assert (first["runtime"], first["precision"], first["task"]) == ("engine", "int8", "singlelabel")
    assert first["input"]["resize"] == [37, 37]
    assert found["pixels"]["sha256"] == hashlib.sha256((site.path / "pixels.wasm").read_bytes()).hexdigest()


def test_all_files_are_there_and_anybody_may_read_them(site):
    names = {path.relative_to(site.path).as_posix() for path in site.path.rglob("*") if path.is_file()}
    own = {path.name for path in (files("mobileone.web") / "static").iterdir()}
    assert own | {"page.css", "pixels.wasm", "site.json"} <= names
    assert all(path.stat().st_mode & stat.S_IROTH for path in [site.path, *site.path.rglob("*")])
    assert site.size_bytes == sum(path.stat().st_size for path in site.path.rglob("*") if path.is_file())


def test_the_service_worker_knows_every_file_and_another_site_by_another_name(site, net, tmp_path):
    text = (site.path / "service_worker.js").read_text(encoding="utf-8")
    listed = json.loads(re.search(r"const FILES = (\[.*?\]);", text)[1])
    there = {path.relative_to(site.path).as_posix() for path in site.path.rglob("*") if path.is_file()}
    assert set(listed) == there - {"service_worker.js"}
    pairs = json.loads(re.search(r"const PAIRS = (\[.*?\]);", text)[1])
    assert pairs == [[each["relaxed"]["file"], each["file"]] for each in site.networks]
    probe = r"const RELAXED_PROBE = (.*);"
    assert re.search(probe, text)[1] == re.search(probe, (site.path / "engine.js").read_text())[1]
    other = build_site([net], tmp_path / "other")
    versions = [
        re.search(r'const VERSION = "(\w{16})"', (each / "service_worker.js").read_text())[1]
        for each in (site.path, other.path)
    ]
    assert versions[0] != versions[1]


def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.path.rglob("*"):
        if path.suffix in (".js", ".html", ".css", ".webmanifest"):
            outside = re.findall(
                r"""(?:src|href|url\(|import|fetch\()\s*=?\s*["'(]?https?://""", path.read_text()
            )
            assert outside == [], path


@pytest.mark.slow
def test_a_float_model_is_quantized_on_the_way(tmp_path, tiny, flat_folder):
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    model = create_model(tiny, num_classes=3)
    model.set_input_size(32)
    save_model(model, tmp_path / "net.safetensors")
    done = build_site([tmp_path / "net.safetensors"], tmp_path / "site", calib=flat_folder)
    assert done.networks[0]["source"] == "net.safetensors"
    assert done.networks[0]["outputs"] == 3
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_apples_weights_bring_their_licence_by_way_of_a_c_file_too(tmp_path, small_network, net, monkeypatch):
    monkeypatch.setattr(small_network, "licence", "apple")
    theirs = tmp_path / "theirs.c"
    quantize(small_network, theirs, images=seeded_pictures(small_network.input_spec, number=4), format="c")
    done = build_site([net, theirs], tmp_path / "site")
    assert done.licences == ("Apple's, see apple/ml-mobileone: tiny-int8-2",)
    found = json.loads((tmp_path / "site" / "site.json").read_text(encoding="utf-8"))
    assert found["networks"][0]["licence"] is None
    assert found["networks"][1]["licence"] == found["licences"][0]["file"] == "licences/apple.txt"
    assert "Apple Inc." in (tmp_path / "site" / "licences" / "apple.txt").read_text(encoding="utf-8")


def test_a_folder_that_exists_stays_as_it_is(net, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already; pass force=True"):
        build_site([net], tmp_path / "site")
    assert (tmp_path / "site" / "mine.txt").exists()
    build_site([net], tmp_path / "site", force=True)
    assert not (tmp_path / "site" / "mine.txt").exists()


def test_what_cannot_be_on_a_page_is_refused_and_nothing_is_left(net, tmp_path, tiny, small_network):
    refused = tmp_path / "site"
    with pytest.raises(ConfigError, match="at least one network"):
        build_site([], refused)
    with pytest.raises(ConfigError, match="float model; give calib="):
        build_site(["mobileone_s0"], refused)
    with pytest.raises(ConfigError, match=r"s0.onnx is an exported file"):
        build_site(["s0.onnx"], refused, calib=tmp_path)
    with pytest.raises(ConfigError, match="runtime_archive needs runtime='litert'"):
        build_site([net], refused, runtime_archive=tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        build_site([net], refused, runtime="litert", runtime_archive=tmp_path / "none.tgz")
    with pytest.raises(DataError):
        build_site(["mobileone_s0"], refused, calib=tmp_path)
    four = create_model(tiny, num_classes=3, in_chans=4, form="inference").eval()
    four.set_input_size(32)
    path = tmp_path / "four.c"
    quantize(four, path, images=torch.randint(0, 256, (4, 4, 32, 32), dtype=torch.uint8), format="c")
    with pytest.raises(ExportError, match="1 or 3 channels, this one takes 4"):
        build_site([path], refused)
    assert [each.name for each in tmp_path.iterdir() if "site" in each.name] == []


def test_without_a_compiler_nothing_is_begun(net, tmp_path, monkeypatch):
    monkeypatch.setattr(c_compiler, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[c\]'"):
        build_site([net], tmp_path / "site")
    assert not list(tmp_path.iterdir())
