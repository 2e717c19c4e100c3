"""The page in another browser's engine: the same integers, the same pixels, one thread and two."""

import base64
import io
import json

import numpy as np
import PIL.Image
import pytest

from mobileone.exporting.parity import seeded_pictures
from mobileone.images.decode import EncodedImage
from mobileone.images.eval_transform import EvalTransform
from mobileone.quantization.quantize import quantize
from mobileone.web.build_site import build_site

from .firefox import needs_firefox, running_firefox
from .test_worker import ASK, TRANSFORM

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_firefox]


def test_firefox_computes_pythons_integers_and_pixels(small_network, served, tmp_path):
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    quantize(
        small_network,
        tmp_path / "net.c",
        images=seeded_pictures(small_network.input_spec, number=4),
        format="c",
    )
    site = build_site([tmp_path / "net.c"], tmp_path / "site")
    (network,) = site.networks
    values = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(values).save(buffer, "PNG")
    with running_firefox(tmp_path / "profile") as browser:
        address = served(site.path)
        browser.go(f"{address}site.json")
        wanted = [("prove", {"network": network["id"], "threads": threads}) for threads in (1, 2, 1, 2)]
        for proof in browser.evaluate(f"{ASK}({json.dumps(wanted)})"):
            assert (proof["same"], proof["differing"], proof["pixels"]["differing"]) == (True, 0, 0)
        data, input_entry = base64.b64encode(buffer.getvalue()).decode(), json.dumps(network["input"])
        pixels = browser.evaluate(f"{TRANSFORM}({data!r}, 'image/png', {input_entry})")
        python = EvalTransform.from_spec(small_network.input_spec)(EncodedImage("photo", buffer.getvalue()))
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(pixels), np.uint8), python.ravel())
        browser.go(address)
        browser.wait_for("!document.getElementById('view-live').hidden")
        seen = np.asarray(PIL.Image.open(io.BytesIO(browser.screenshot())).convert("RGB"))
        assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 20
