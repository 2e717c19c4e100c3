"""The made-up pictures, and the page's pre-processing outside a browser: the same bytes as in Python."""

import base64
import hashlib
import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mobileone.backends.artifact import Artifact, prepare
from mobileone.images.decode import DecodedImage, PillowImage
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec
from mobileone.web.build_site import input_entry
from mobileone.web.golden import PICTURES, golden_picture, golden_values
from mobileone.web.wasm_compiler import compile_pixels

STATIC = Path(str(files("mobileone.web"))) / "static"
SPECS = (
    InputSpec(size=32),
    InputSpec(size=224, crop=0.9, interpolation="bicubic"),
    InputSpec(size=(64, 33), crop=1.0, interpolation="bicubic"),
    InputSpec(size=(96, 160), fit="letterbox"),
)
SIZES = ((301, 403), (37, 37), (1, 1), (1, 90), (1000, 3), (640, 200), (333, 222), (700, 611), (32, 32))


@pytest.fixture(scope="module")
def transform(tmp_path_factory):
    """`transform(cases)`: SHA-256 of what the page's modules make of each case, in node."""
    pytest.importorskip("ziglang", reason="needs mobileone[c]")
    if shutil.which("node") is None:
        pytest.skip("needs node")
    folder = tmp_path_factory.mktemp("transform")
    compile_pixels(folder / "pixels.wasm")

    def run(cases):
        given = []
        for number, (spec, picture) in enumerate(cases):
            entry = {"input": input_entry(spec)}
            if isinstance(picture, tuple):
                entry["golden"] = dict(zip(("height", "width", "seed"), picture, strict=True))
            else:
                path = folder / f"{number}.rgba"
                path.write_bytes(picture.tobytes())
                entry |= {"rgba": str(path), "height": picture.shape[0], "width": picture.shape[1]}
            given.append(entry)
        (folder / "cases.json").write_text(json.dumps(given))
        script = Path(__file__).with_name("transform.mjs")
        command = ["node", "--experimental-default-type=module", script, STATIC, folder / "pixels.wasm"]
        done = subprocess.run([*command, folder / "cases.json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [each["sha256"] for each in json.loads(done.stdout)]

    return run


def digest(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def test_sizes_fits_and_filters_give_the_bytes_of_eval_transform(transform):
    rng = np.random.default_rng(0)
    cases, wanted = [], []
    for spec in SPECS:
        for height, width in SIZES:
            rgba = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
            rgba[..., 3] = 255
            cases.append((spec, rgba))
            image = DecodedImage("picture", np.ascontiguousarray(rgba[..., :3]))
            wanted.append(digest(EvalTransform.from_spec(spec)(image)))
    assert transform(cases) == wanted


def test_transparency_lies_on_white_for_every_colour_and_opacity(transform):
    levels = np.arange(256, dtype=np.uint8)
    colour, opacity = np.meshgrid(levels, levels)
    rgba = np.stack([colour, colour[::-1], 255 - colour, opacity], axis=-1)
    spec = InputSpec(size=256, crop=1.0)
    wanted = EvalTransform.from_spec(spec)(PillowImage("picture", PIL.Image.fromarray(rgba)))
    assert transform([(spec, rgba)]) == [digest(wanted)]


def test_grey_networks_see_grey(transform, make_artifact):
    artifact = make_artifact(in_chans=1)
    spec = artifact.input_spec
    view = EvalTransform.from_spec(spec)(DecodedImage("picture", golden_picture(*PICTURES[0])))
    assert transform([(spec, PICTURES[0])]) == [digest(prepare(view[None], artifact.manifest))]


def test_a_large_picture_goes_through_in_strips(transform):
    rgba = np.full((1700, 1900, 4), 255, np.uint8)
    rgba[..., :3] = golden_picture(1700, 1900, 4)
    tall = np.ascontiguousarray(rgba[:, :500].repeat(3, axis=0))
    spec = InputSpec(size=64)
    wanted = [
        digest(EvalTransform.from_spec(spec)(DecodedImage("picture", np.ascontiguousarray(each[..., :3]))))
        for each in (rgba, tall)
    ]
    assert transform([(spec, rgba), (spec, tall)]) == wanted


def test_the_entries_hold_what_python_computes(transform, make_artifact):
    artifact = make_artifact()
    entries = golden_values(artifact)
    assert transform([(artifact.input_spec, picture) for picture in PICTURES]) == [
        e["pixels"] for e in entries
    ]
    assert len({entry["logits"] for entry in entries}) == len(PICTURES)
    logits = np.frombuffer(base64.b64decode(entries[0]["logits"]), "<f4")
    view = EvalTransform.from_spec(artifact.input_spec)(DecodedImage("golden", golden_picture(*PICTURES[0])))
    np.testing.assert_array_equal(logits, artifact.run(view[None])[0])


@pytest.fixture(scope="module")
def make_artifact(tmp_path_factory):
    """`make_artifact(in_chans=…)`: a tiny network as C, opened."""
    from mobileone.exporting.parity import seeded_pictures
    from mobileone.model.create import create_model
    from mobileone.quantization.quantize import quantize
    from mobileone.variants import Variant

    def make(in_chans=3):
        variant = Variant("tiny", (16, 16, 16, 32), depths=(1, 1, 1, 1))
        model = create_model(variant, num_classes=7, in_chans=in_chans, form="inference").eval()
        model.set_input_size(32)
        path = tmp_path_factory.mktemp("artifact") / "net.c"
        quantize(model, path, images=seeded_pictures(model.input_spec, number=4), format="c")
        return Artifact(path, threads=1)

    return make
