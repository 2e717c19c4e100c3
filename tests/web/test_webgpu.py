"""LiteRT.js by WebGPU: which networks are offered so, what really ran, what is said where it does not run."""

import base64
import json
import re
import shutil

import numpy as np
import pytest

from mobileone.checkpoint.store import save_model
from mobileone.exporting.parity import TOLERANCES
from mobileone.web.build_site import build_site
from mobileone.web.collect import collect, collect_report

from .chromium import needs_browser, running_chromium
from .conftest import STATIC, network
from .test_page import measured
from .test_static import printed_by_node
from .test_worker import ask

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
# WebGPU without a GPU: Chromium computes it on the processor.
SOFTWARE = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
LIVE = "[...document.getElementById('live-network').options].map((each) => each.textContent)"
CHOOSE = "(select, value) => { select.value = value; select.dispatchEvent(new Event('change')) }"
# Of the greatest logit, on the processor and by WebGPU alike.
TOLERANCE = TOLERANCES["fp32"]


@needs_node
def test_float_networks_of_litert_js_are_offered_a_second_time():
    kinds = [("engine", "int8"), ("litert", "int8"), ("litert", "fp32")]
    given = [
        {"id": f"{runtime}-{precision}", "title": "a", "runtime": runtime, "precision": precision}
        for runtime, precision in kinds
    ]
    program = f"""
      import {{ withWebGpu }} from {json.dumps((STATIC / "protocol.js").as_uri())};
      console.log(JSON.stringify(withWebGpu({json.dumps(given)})));
    """
    names = {"id": "litert-fp32-webgpu", "title": "a, WebGPU", "accelerator": "webgpu"}
    assert printed_by_node(program) == [*given, given[-1] | names]


@needs_node
@pytest.mark.parametrize(
    ("gpu", "wanted"),
    [
        ("undefined", False),
        ("{ requestAdapter: async () => null }", False),
        ("{ requestAdapter: async () => { throw new Error('no driver') } }", False),
        ("{ requestAdapter: () => new Promise(() => {}) }", False),
        ("{ requestAdapter: async () => ({}) }", True),
    ],
)
def test_there_is_webgpu_where_there_is_an_adapter(gpu, wanted):
    program = f"""
      import {{ hasWebGpu }} from {json.dumps((STATIC / "litert.js").as_uri())};
      Object.defineProperty(globalThis, "navigator", {{ value: {{ gpu: {gpu} }}, configurable: true }});
      globalThis.setTimeout = (then, _, value) => setImmediate(then, value);
      console.log(await hasWebGpu());
    """
    assert printed_by_node(program) is wanted


def choose(tab, name):
    tab.evaluate(f"({CHOOSE})(document.getElementById('live-network'), {json.dumps(name)})")


@pytest.mark.browser
@needs_browser
def test_the_page_offers_it_without_threads_and_only_where_an_adapter_is_found(browser, mock_site, served):
    networks = (network("whole"), network("odd", runtime="litert", precision="fp32"))
    folder = mock_site(*networks, litert={"files": "litert/", "version": "2.5.3"})
    tab = browser.open(served(folder))
    tab.shown("#view-live")
    assert tab.evaluate(LIVE) == ["whole network", "odd network", "odd network, WebGPU"]
    hidden = "document.getElementById('live-threads-field').hidden"
    choose(tab, "odd-webgpu")
    assert tab.evaluate(hidden)
    choose(tab, "odd")
    assert not tab.evaluate(hidden)
    result = measured(tab)
    pairs = [("whole network", 1), ("whole network", 2), ("odd network", 1), ("odd network", 2)]
    pairs.append(("odd network, WebGPU", 1))
    for found in (result["measurements"], result["proofs"]):
        assert [(each.get("title") or each["network"]["title"], each["threads"]) for each in found] == pairs
    told = tab.evaluate("document.getElementById('proofs').innerText")
    assert (
        "differs 2 threads: 3 of 28 numbers differ from Python's, by 8.3e-2 of the greatest at most" in told
    )
    tab.command("Page.close")
    worker = folder / "worker.js"
    worker.write_text(
        worker.read_text().replace("async webgpu() {\n    return true", "async webgpu() {\n    return false")
    )
    tab = browser.open(served(folder))
    tab.shown("#view-live")
    assert tab.evaluate(LIVE) == ["whole network", "odd network"]
    tab.command("Page.close")


@pytest.fixture(scope="module")
def site(tmp_path_factory, small_network):
    pytest.importorskip("ai_edge_litert", reason="needs mobileone[litert]")
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    folder = tmp_path_factory.mktemp("gpu")
    save_model(small_network, folder / "net.safetensors")
    return build_site([folder / "net.safetensors"], folder / "site", runtime="litert")


@pytest.fixture(scope="module")
def software(tmp_path_factory):
    with running_chromium(tmp_path_factory.mktemp("profile"), *SOFTWARE) as running:
        yield running


def names(site):
    (entry,) = site.networks
    return entry["id"], f"{entry['id']}-webgpu"


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.browser
@needs_browser
def test_a_float_network_by_webgpu_gives_pythons_logits_and_says_what_ran(site, served, software):
    tab = software.open(served(site.path) + "site.json")
    plain, gpu = names(site)
    has, *answers = ask(
        tab,
        ("webgpu", {}),
        *(("load", {"network": name}) for name in (plain, gpu)),
        *(("prove", {"network": name}) for name in (plain, gpu)),
        ("measure", {"network": gpu, "runs": 5, "warmup": 1, "threads": 2}),
    )
    assert has is True
    assert all(isinstance(each, dict) for each in answers), answers
    assert answers[0]["memoryBytes"] is answers[1]["memoryBytes"] is None, "not told, not zero"
    kernels = [each["kernels"] for each in answers]
    assert kernels == ["wasm", "webgpu_software", "wasm", "webgpu_software", "webgpu_software"]
    golden = [base64.b64decode(each["logits"]) for each in site.networks[0]["golden"]]
    greatest = max(float(np.abs(np.frombuffer(each, "<f4")).max()) for each in golden)
    for proof in answers[2:4]:
        assert proof["scale"] == greatest > 0
        assert proof["pixels"]["same"]
        assert proof["greatest"] < TOLERANCE * proof["scale"]
    assert len(answers[4]["milliseconds"]) == 5
    tab.command("Page.close")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.browser
@needs_browser
def test_the_whole_page_classifies_and_measures_by_webgpu(site, served, software, picture, tmp_path):
    picture(5, 70, 90).save(tmp_path / "photo.png")
    tab = software.open(served(site.path))
    tab.shown("#view-live")
    answers = []
    for name in names(site):
        choose(tab, name)
        tab.choose_files("#files", tmp_path / "photo.png")
        tab.wait_for(f"document.querySelectorAll('.picture .answer').length === {len(answers) + 1}")
        answers.append(tab.evaluate("document.querySelector('.picture .answer').innerText"))
    assert answers[0] == answers[1]
    result = measured(tab)
    lines = tab.evaluate("[...document.querySelectorAll('#proofs p')].map((each) => each.textContent)")
    (by_gpu,) = [each for each in lines if "webgpu_software" in each]
    assert re.match(r"(close|same) 1 thread: ", by_gpu)
    assert not [each for each in lines if each.startswith("differs")]
    told = "[...document.querySelectorAll('#comparison td:last-child')].map((each) => each.textContent)"
    assert set(tab.evaluate(told)) <= {"same", "close"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    found = collect([tmp_path / "result.json"])
    ran = [(each.runtime, each.kernels, each.threads) for each in found]
    assert sorted(ran) == [("litert", "wasm", 1), ("litert", "wasm", 2), ("litert", "webgpu_software", 1)]
    assert "LiteRT.js, WebGPU" in collect_report(found)
    assert "litert (webgpu_software)" in collect_report(found)
    assert all(each.is_close for each in found)
    chatter = re.compile("(INFO|WARNING): ")  # LiteRT.js writes those as errors
    assert [each for each in tab.faults() if not chatter.match(each)] == [], "the policy lets it run"
    tab.command("Page.close")


# Ends the GPU, or does something wrong with it, when it is told to from outside.
HARM = """
const request = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...given) {
  const device = await request.apply(this, given);
  new BroadcastChannel("harm").onmessage = ({ data }) =>
    data === "end" ? device.destroy() : device.createBuffer({ size: 4, usage: 0 });
  return device;
};
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize(
    ("harm", "told"),
    [("end", "LiteRT.js: the GPU was lost: "), ("err", "LiteRT.js: the GPU made an error: ")],
)
def test_a_gpu_that_fails_is_told_and_begun_anew(site, served, software, tmp_path, harm, told):
    folder = shutil.copytree(site.path, tmp_path / "site")
    worker = folder / "litert_worker.js"
    worker.write_text(HARM + worker.read_text())
    tab = software.open(served(folder) + "site.json")
    request = {"network": names(site)[1]}
    assert ask(tab, ("load", request))[0]["kernels"] == "webgpu_software"
    tab.evaluate(f"new BroadcastChannel('harm').postMessage('{harm}')")
    tab.evaluate("new Promise((done) => setTimeout(done, 500))")
    broken, proof = ask(tab, ("measure", request), ("prove", request))
    assert broken.startswith(told), broken
    assert proof["kernels"] == "webgpu_software"
    assert proof["greatest"] < TOLERANCE * proof["scale"]
    tab.command("Page.close")


FULL = (
    "get isFullyAccelerated() {",
    "get isFullyAccelerated() { if (this.options.accelerator === 'webgpu') return false;",
)
ALONE = 'return "Suspending" in WebAssembly;', "return false;"


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("changes", [[FULL], [FULL, ALONE]], ids=["a part", "all of it"])
def test_what_litert_js_would_run_on_the_processor_is_refused(site, served, software, tmp_path, changes):
    folder = shutil.copytree(site.path, tmp_path / "site")
    library = folder / "litert" / "index.js"
    text = library.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    library.write_text(text)
    tab = software.open(served(folder) + "site.json")
    plain, gpu = names(site)
    refused, other = ask(tab, ("measure", {"network": gpu}), ("load", {"network": plain}))
    wanted = "LiteRT.js: not all of this network runs by webgpu on this device, so it is not run there"
    assert refused == wanted
    assert other["kernels"] == "wasm"
    tab.command("Page.close")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.browser
@needs_browser
def test_without_an_adapter_it_is_not_offered_and_refused(site, served, browser):
    tab = browser.open(served(site.path) + "site.json")
    has, refused = ask(tab, ("webgpu", {}), ("load", {"network": names(site)[1]}))
    assert has is False
    assert refused == "LiteRT.js: this browser gives no GPU, so the network does not run by WebGPU"
    tab.command("Page.close")
