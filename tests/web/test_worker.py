"""The worker in a real browser, on a real site: integers, nasty pictures, threads, hashes, offline."""

import base64
import hashlib
import io
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import PIL.Image
import pytest

from mobileone.backends.artifact import Artifact
from mobileone.decision import Decision
from mobileone.exporting.parity import seeded_pictures
from mobileone.images.decode import EncodedImage
from mobileone.images.eval_transform import EvalTransform
from mobileone.images.orientation import with_orientation
from mobileone.inference.predictor import Predictor
from mobileone.model.create import create_model
from mobileone.quantization.quantize import quantize
from mobileone.variants import Variant
from mobileone.web.build_site import build_site

from .chromium import needs_browser, running_chromium

pytestmark = [pytest.mark.browser, needs_browser]

# Asks the worker a list of requests; pictures come as base64.
ASK = """(async (requests) => {
  const { startEngine } = await import("./protocol.js");
  globalThis.engine ??= startEngine();
  const answers = [];
  for (const [type, request] of requests) {
    if (request.image) {
      const bytes = Uint8Array.from(atob(request.image), (c) => c.charCodeAt(0));
      request.image = new Blob([bytes], { type: request.kind });
    }
    try { answers.push(await engine.ask(type, request)); } catch (error) { answers.push(error.message); }
  }
  return answers;
})"""
# What the network is given of a picture, without the network.
TRANSFORM = """(async (data, type, input) => {
  const [{ decode }, { Pixels }] = [await import("./decode.js"), await import("./pixels.js")];
  const { instance } = await WebAssembly.instantiate(await (await fetch("pixels.wasm")).arrayBuffer());
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const source = await decode(new Blob([bytes], { type }), input.exif);
  const { pixels } = await new Pixels(instance).transform(source, input);
  return btoa(String.fromCharCode(...pixels));
})"""


def plain_server(folder):
    """A server that sends none of the headers that threads need, as most do."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://localhost:{server.server_port}/"


@pytest.fixture(scope="module")
def nets(tmp_path_factory, small_network):
    """One with attention, classes and thresholds; a letterboxed rectangle; a grey one."""
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    folder, paths = tmp_path_factory.mktemp("nets"), []
    variant = Variant("plain", (16, 24, 32, 48), depths=(1, 1, 1, 1))
    wide = create_model(variant, num_classes=5, form="inference").eval()
    wide.set_input_size((48, 80))
    wide.input_spec = type(wide.input_spec)(size=(48, 80), fit="letterbox", interpolation="bicubic")
    grey = create_model(variant, num_classes=5, in_chans=1, form="inference").eval()
    grey.set_input_size(33)
    small_network.class_names = tuple(f"kind {number}" for number in range(7))
    small_network.decision = Decision(temperatures=(0.5,), biases=(0.1,), thresholds=(0.9,))
    for name, model in (("small", small_network), ("wide", wide), ("grey", grey)):
        path = folder / f"{name}.c"
        quantize(model, path, images=seeded_pictures(model.input_spec, number=4), format="c")
        paths.append(path)
    small_network.class_names = small_network.decision = None
    return paths


@pytest.fixture(scope="module")
def site(nets, tmp_path_factory):
    return build_site(nets, tmp_path_factory.mktemp("real") / "site")


@pytest.fixture(scope="module")
def page(site, served, browser):
    """An isolated page of the site, whose own script is not running."""
    return browser.open(served(site.path) + "site.json")


def ask(tab, *requests):
    return tab.evaluate(f"{ASK}({json.dumps(requests)})")


def ids(site):
    return [each["id"] for each in site.networks]


def test_every_network_gives_pythons_integers_on_one_thread_and_on_two(page, site):
    for name in ids(site):
        one, two = ask(page, ("prove", {"network": name}), ("prove", {"network": name, "threads": 2}))
        assert one["same"], (name, one)
        assert two["same"], (name, two)
        assert one["of"] > 0
        assert one["decoding"]["of"] == 48 * 64 * 3
        assert one["decoding"]["greatest"] <= 2  # another decoder may round otherwise
        assert one["pixels"] == {"same": True, "differing": 0, "of": 3}


def test_threads_come_and_go_without_hanging_or_changing_a_number(page, site):
    """Ended ones ran on for a moment, on the stacks of those that took their place."""
    name = ids(site)[0]
    proofs = ask(page, *(("prove", {"network": name, "threads": threads}) for threads in (2, 1, 2, 1, 2, 2)))
    assert [proof["same"] for proof in proofs] == [True] * 6
    turns = [{"network": name, "threads": threads, "runs": 50} for threads in (2, 1) * 5]
    assert all(len(each["milliseconds"]) == 50 for each in ask(page, *(("measure", turn) for turn in turns)))


def test_a_picture_gets_the_answer_that_the_predictor_gives(page, site, nets, picture, encode):
    data = encode(picture(3, 90, 70), "PNG")
    for name, path in zip(ids(site), nets, strict=True):
        request = {"network": name, "image": base64.b64encode(data).decode(), "kind": "image/png", "top": 3}
        (answer,) = ask(page, ("classify", request))
        wanted = Predictor.load(path)(data, topk=3)
        assert [each["index"] for each in answer["top"]] == [each.index for each in wanted.scores]
        for each, other in zip(answer["top"], wanted.scores, strict=True):
            assert each["probability"] == pytest.approx(other.probability, rel=1e-6)
        assert answer["unsure"] == (wanted.sure is False)
        assert answer["size"] == {"height": 90, "width": 70}
        assert min(answer["times"].values()) >= 0


def test_maps_are_those_of_the_network(page, site, picture, encode):
    image = base64.b64encode(encode(picture(3, 60, 90), "PNG")).decode()
    request = {"network": ids(site)[1], "image": image, "kind": "image/png", "map": True}
    (answer,) = ask(page, ("classify", request))
    shown = answer["map"]
    assert (shown["height"], shown["width"]) == (2, 3)
    assert (min(shown["values"]), max(shown["values"])) == (0, 1)
    assert shown["box"]["width"] == pytest.approx(80 / 72)  # 60 × 90 becomes 48 × 72
    assert shown["box"]["left"] == pytest.approx(-4 / 72)


def nasty_pictures(picture, encode):
    """(file, type): everything that a browser decodes without loss, and whose pixels Python states."""
    rng = np.random.default_rng(0)
    colours = picture(1, 61, 83)
    alpha = PIL.Image.fromarray(rng.integers(0, 256, (50, 40, 4), dtype=np.uint8))
    palette = colours.convert("P", palette=PIL.Image.Palette.ADAPTIVE)
    deep = PIL.Image.fromarray(rng.integers(0, 65536, (40, 50), dtype=np.uint16))
    yield "odd", encode(colours, "PNG"), "image/png"
    yield "one pixel", encode(picture(2, 1, 1), "PNG"), "image/png"
    yield "a line", encode(picture(2, 1, 300), "PNG"), "image/png"
    yield "tall", encode(picture(2, 600, 41), "PNG"), "image/png"
    yield "grey", encode(colours.convert("L"), "PNG"), "image/png"
    yield "opacity", encode(alpha, "PNG"), "image/png"
    yield "grey with opacity", encode(alpha.convert("LA"), "PNG"), "image/png"
    yield "palette", encode(palette, "PNG"), "image/png"
    yield "see-through palette", encode(palette, "PNG", transparency=3), "image/png"
    yield "black and white", encode(colours.convert("1"), "PNG"), "image/png"
    yield "16 bits", encode(deep, "PNG"), "image/png"
    yield "GIF", encode(palette, "GIF"), "image/gif"
    yield "BMP", encode(colours, "BMP"), "image/bmp"
    yield "WebP", encode(colours, "WEBP", lossless=True), "image/webp"
    yield "WebP with opacity", encode(alpha, "WEBP", lossless=True, exact=True), "image/webp"


def test_nasty_pictures_give_the_bytes_of_eval_transform(page, site, nets, picture, encode):
    for path, entry in zip(nets, site.networks, strict=True):
        if entry["input"]["channels"] != 3:
            continue
        transform = EvalTransform.from_spec(Artifact(path).input_spec)
        for name, data, kind in nasty_pictures(picture, encode):
            text = base64.b64encode(data).decode()
            got = page.evaluate(f"{TRANSFORM}({text!r}, {kind!r}, {json.dumps(entry['input'])})")
            wanted = transform(EncodedImage(name, data))
            found = np.frombuffer(base64.b64decode(got), np.uint8).reshape(wanted.shape)
            difference = np.abs(found.astype(int) - wanted).max()
            # 16 bits become 8 by rounding in Python, by cutting in browsers; bicubic weights exaggerate that.
            assert difference <= (2 if name == "16 bits" else 0), (name, difference)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_and_nearly_the_same(page, site, nets, picture, encode, orientation):
    data = with_orientation(encode(picture(5, 64, 96), "JPEG", quality=95, subsampling=0), orientation)
    entry = site.networks[0]
    text = base64.b64encode(data).decode()
    got = page.evaluate(f"{TRANSFORM}({text!r}, 'image/jpeg', {json.dumps(entry['input'])})")
    wanted = EvalTransform.from_spec(Artifact(nets[0]).input_spec)(EncodedImage("photo", data))
    found = np.frombuffer(base64.b64decode(got), np.uint8).reshape(wanted.shape)
    assert np.abs(found.astype(int) - wanted).max() <= 2


def test_what_is_no_picture_or_too_large_or_unknown_is_one_sentence(page, site, encode):
    large = io.BytesIO()
    PIL.Image.new("1", (10_000, 10_000)).save(large, "PNG")
    name = ids(site)[0]
    answers = ask(
        page,
        (
            "classify",
            {"network": name, "image": base64.b64encode(b"no picture").decode(), "kind": "image/png"},
        ),
        (
            "classify",
            {"network": name, "image": base64.b64encode(large.getvalue()).decode(), "kind": "image/png"},
        ),
        ("classify", {"network": "none"}),
        ("load", {"network": name, "threads": 99}),
        ("dance", {}),
    )
    assert answers[0] == "This is no picture, or none that this browser can decode."
    assert answers[1] == "The picture is too large: 10000×10000 pixels, over the limit of 67108864."
    assert answers[2] == "This site has no network none."
    assert answers[3].endswith("not on 99.")
    assert answers[4] == "The worker does not know the request dance."


def test_measuring_gives_a_time_a_run(page, site):
    loaded, measured, on_two, able = ask(
        page,
        ("load", {"network": ids(site)[0]}),
        ("measure", {"network": ids(site)[0], "runs": 7, "warmup": 1}),
        ("measure", {"network": ids(site)[0], "runs": 7, "threads": 2}),
        ("capabilities", {}),
    )
    assert loaded["bytes"] in (site.networks[0]["bytes"], site.networks[0]["relaxed"]["bytes"])
    assert len(measured["milliseconds"]) == len(on_two["milliseconds"]) == 7
    assert able["isolated"]
    assert able["simd"]
    assert able["threads"] >= 2


@pytest.fixture
def own_copy(site, tmp_path):
    import shutil

    return shutil.copytree(site.path, tmp_path / "site")


def test_a_network_that_was_tampered_with_is_not_run(own_copy, site, served, browser):
    names = [site.networks[0]["file"], site.networks[0]["relaxed"]["file"]]
    for name in names:
        content = bytearray((own_copy / name).read_bytes())
        content[-1] ^= 1
        (own_copy / name).write_bytes(content)
    tab = browser.open(served(own_copy) + "site.json")
    answers = ask(tab, ("load", {"network": ids(site)[0]}), ("prove", {"network": ids(site)[1]}))
    file, said = answers[0].split(" ", 1)
    assert file in names
    assert said.startswith("is not the file that this site was built with")
    assert answers[1]["same"]


def rewrite(site, change):
    """site.json with every network changed."""
    description = json.loads((site / "site.json").read_text(encoding="utf-8"))
    for each in description["networks"]:
        change(each)
    (site / "site.json").write_text(json.dumps(description), encoding="utf-8")


def test_kernels_are_relaxed_where_that_is_exact_and_the_integers_are_the_same(page, site, own_copy, served):
    (able,) = ask(page, ("capabilities", {}))
    rewrite(own_copy, lambda each: each.update(relaxed=None))
    exact = page.browser.open(served(own_copy) + "site.json")
    for name in ids(site):
        for threads in (1, 2):
            request = {"network": name, "threads": threads}
            loaded, proof = ask(page, ("load", request), ("prove", request))
            assert loaded["kernels"] == proof["kernels"]
            assert loaded["kernels"] in (
                ("relaxed", "relaxed_signed", "relaxed_pairs") if able["relaxedSimd"] else "simd128"
            )
            assert (proof["same"], proof["replaced"]) == (True, False)
            loaded, proof = ask(exact, ("load", request), ("prove", request))
            assert loaded["kernels"] == proof["kernels"] == "simd128"
            assert proof["same"]


def test_where_relaxed_dot_products_saturate_the_engine_takes_those_of_pairs(site, served, tmp_path):
    """As on x86 without VNNI: the probe finds that sums of four are cut."""
    with running_chromium(tmp_path / "profile", "--js-flags=--no-enable-avx-vnni") as browser:
        tab = browser.open(served(site.path) + "site.json")
        loaded, proof = ask(tab, *((kind, {"network": ids(site)[0]}) for kind in ("load", "prove")))
    assert loaded["kernels"] in ("relaxed_pairs", "relaxed_signed")
    assert proof["same"]


def needs_relaxed(tab, site):
    request = {"network": ids(site)[0]}
    if ask(tab, ("load", request))[0]["kernels"] == "simd128":
        pytest.skip("no exact relaxed SIMD in this browser on this machine")


def test_other_golden_integers_end_relaxed_kernels(page, site, own_copy, served):
    needs_relaxed(page, site)
    wrong = base64.b64encode(np.zeros(7, np.float32).tobytes()).decode()
    rewrite(own_copy, lambda each: each["golden"][0].update(logits=wrong))
    tab = page.browser.open(served(own_copy) + "site.json")
    request = {"network": ids(site)[0]}
    kinds = ("load", "prove", "prove", "load", "measure")
    before, first, second, after, measured = ask(tab, *((kind, request) for kind in kinds))
    assert before["kernels"].startswith("relaxed")
    assert (first["replaced"], first["kernels"], first["same"]) == (True, "simd128", False)
    assert (second["replaced"], second["kernels"]) == (False, "simd128")
    assert after["kernels"] == measured["kernels"] == "simd128"


def test_kernels_that_fail_after_warm_up_are_replaced(page, site):
    """Weights that change in memory stand for a better compiler that rounds otherwise."""
    needs_relaxed(page, site)
    code = """(async ({ file, sha256 }) => {
      const { RunningNetwork, fetchChecked } = await import("./engine.js");
      const network = new RunningNetwork(await fetchChecked(file, sha256));
      const bytes = new Uint8Array(network.memory.buffer, 0, network.call.pixels());
      let weights = 0;  // where 64 bytes have as many values as nothing else there has
      while (new Set(bytes.slice(weights, weights + 64)).size < 50) weights += 64;
      const seen = [];
      for (let run = 1; run <= 16; run++) {
        if (run === 16) for (let i = 0; i < 64; i++) bytes[weights + i] ^= 1;
        network.run();
        seen.push(network.kernels);
      }
      return seen;
    })"""
    seen = page.evaluate(f"{code}({json.dumps(site.networks[0]['relaxed'])})")
    assert all(each.startswith("relaxed") for each in seen[:15])
    assert seen[15] == "simd128"


def test_a_plain_server_becomes_isolated_by_the_service_worker_and_works_offline(own_copy, site, tmp_path):
    server, address = plain_server(own_copy)
    (own_copy / "bare.html").write_text("<!doctype html><title>bare</title>")
    with running_chromium(tmp_path / "profile") as browser:
        tab = browser.open(address + "bare.html")
        assert tab.evaluate("crossOriginIsolated") is False
        (first,) = ask(tab, ("prove", {"network": ids(site)[0]}))
        assert first["same"]  # on one thread, without shared memory
        assert ask(tab, ("load", {"network": ids(site)[0], "threads": 2}))[0].endswith("not on 2.")
        tab.evaluate(
            "navigator.serviceWorker.register('service_worker.js').then(() => navigator.serviceWorker.ready)"
        )
        tab.go(address + "site.json")
        tab.wait_for("crossOriginIsolated")
        (second,) = ask(tab, ("prove", {"network": ids(site)[0], "threads": 2}))
        assert second["same"]
        server.shutdown()
        server.server_close()
        tab.go(address + "?again")
        tab.wait_for("document.title.includes('MobileOne')")
        (third,) = ask(tab, ("prove", {"network": ids(site)[1]}))
        assert third["same"]


def test_a_lost_network_on_the_first_visit_is_one_sentence(site, browser):
    server, address = plain_server(site.path)
    tab = browser.open(address + "protocol.js")
    assert ask(tab, ("capabilities", {}))[0]["simd"]
    server.shutdown()
    server.server_close()
    (answer,) = ask(tab, ("load", {"network": ids(site)[0]}))
    assert answer == "The list of networks, site.json, could not be fetched."


def test_hashes_without_the_browsers_own(page):
    code = """(async () => {
      const { sha256InScript } = await import("./sha256.js");
      return [0, 55, 56, 64, 1000].map((n) => sha256InScript(new Uint8Array(n).fill(7)));
    })()"""
    wanted = [hashlib.sha256(bytes([7]) * n).hexdigest() for n in (0, 55, 56, 64, 1000)]
    assert page.evaluate(code) == wanted


@pytest.mark.slow
@pytest.mark.network
def test_a_float_network_runs_in_litert_js(tmp_path, tiny, flat_folder, served, browser):
    pytest.importorskip("ai_edge_litert", reason="needs mobileone[litert]")
    from mobileone.checkpoint.store import save_model

    model = create_model(tiny, num_classes=3)
    model.set_input_size(32)
    save_model(model, tmp_path / "net.safetensors")
    built = build_site([tmp_path / "net.safetensors"], tmp_path / "site", calib=flat_folder, runtime="litert")
    assert ids(built) == ["tiny-int8", "tiny-fp32"]
    tab = browser.open(served(built.path) + "site.json")
    ours, one, two = ask(
        tab,
        ("prove", {"network": "tiny-int8"}),
        ("prove", {"network": "tiny-fp32"}),
        ("prove", {"network": "tiny-fp32", "threads": 2}),
    )
    assert all(isinstance(each, dict) for each in (ours, one, two)), (ours, one, two)
    assert ours["same"]
    for proof in (one, two):
        assert proof["pixels"]["same"]
        assert proof["greatest"] < 1e-4
