"""`mobileone calibrate`."""

import json

import numpy as np
import PIL.Image
import pytest

from mobileone.backends.manifest import read_manifest
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

pytest.importorskip("matplotlib", reason="needs matplotlib")
pytest.importorskip("sklearn", reason="needs scikit-learn")


@pytest.fixture
def greys(tiny, tmp_path):
    """A run folder of a network of two classes, and 60 photos, bright and dark."""
    random = np.random.default_rng(0)
    for index in range(60):
        name, level = (("dark", 60), ("light", 190))[index % 2]
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        noise = random.integers(-50, 51, (32, 32, 3))
        PIL.Image.fromarray((level + noise).astype(np.uint8)).save(folder / f"{index}.png")
    spec = InputSpec(size=32)
    model = create_model(
        tiny, num_classes=2, class_names=("dark", "light"), input_spec=spec, form="inference"
    ).eval()
    save_model(model, tmp_path / "run" / "best.safetensors", extra={"epoch": 2})
    return tmp_path / "run", tmp_path / "data"


def test_a_run_is_calibrated_and_everything_else_follows(run, greys, tmp_path):
    folder, data = greys
    command = ("calibrate", folder, "--data", data, "--workers", 0, "--ood", data / "dark")
    code, out, err = run(*command, "--target-recall", 0.2)
    assert (code, "expected calibration error" in out, "recall 0.2: sure from" in out) == (0, True, True)
    assert "novel images, energy: AUROC" in out
    assert "note: 60 images: a share of 0.9 is uncertain" in err
    assert "Reliability" in (folder / "calibration.html").read_text(encoding="utf-8")
    decision = load_model(folder).decision
    assert decision.evidence["data"] == str(data)
    code, out, _ = run("test", folder, "--data", data, "--workers", 0, "--json")
    assert json.loads(out)["coverage"] == pytest.approx(100 * decision.evidence["coverage"], abs=20)
    code, out, _ = run("export", folder, "-o", tmp_path / "net.pt2")
    assert (code, read_manifest(tmp_path / "net.pt2").decision) == (0, decision)
    code, out, _ = run("calibrate", tmp_path / "net.pt2", "--data", data, "--json", "--workers", 0)
    values = json.loads(out)
    assert (code, values["kept"], values["page"]) == (
        0,
        str(tmp_path / "net.pt2.json"),
        str(tmp_path / "net.pt2.calibration.html"),
    )
    again = read_manifest(tmp_path / "net.pt2").decision
    assert (again.novelty, again.to_dict()) == (None, values["decision"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--target-precision", 0.9, "--mistake-cost", 5), "give one of --target-precision"),
        (("--per-class",), "--per-class needs --target-precision"),
        (("--target-precision", 2), "a precision to reach must be in (0, 1], got 2"),
        (("--target-recall", 1.0), "recall 1 cannot be met on these 60 images"),
        (("--html", "page.txt"), "the file must end in .html"),
        (("--ood", "nowhere"), "nowhere"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_changes_nothing(run, greys, options, told):
    folder, data = greys
    before = (folder / "best.safetensors").read_bytes()
    code, out, err = run("calibrate", folder, "--data", data, "--workers", 0, *options)
    assert (code, out) == (1, "")
    assert told in err.splitlines()[-1]
    assert (folder / "best.safetensors").read_bytes() == before
    assert [each.name for each in folder.iterdir()] == ["best.safetensors"]
