"""`mobileone quantize` as a user meets it."""

import json

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.backends.table import BACKENDS, backend_of, writing
from mobileone.checkpoint.store import save_model
from mobileone.cli.main import main
from mobileone.exporting.parity import seeded_pictures
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

CLASSES = ("bird", "cat", "dog")
SLOW = {"executorch"}  # lowering takes seconds; its fast test is in backends/executorch
FORMATS = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in writing("int8")]


def run(capsys, *arguments):
    """Exit code, stdout and stderr of one command."""
    code = main(["quantize", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def model_file(tiny, tmp_path):
    spec = InputSpec(size=32)
    model = create_model(tiny, num_classes=3, class_names=CLASSES, input_spec=spec, form="inference")
    return save_model(model.eval(), tmp_path / "tiny.safetensors")


@pytest.fixture
def photos(tmp_path):
    """Twenty pictures in three class folders."""
    pixels = seeded_pictures(InputSpec(size=40), number=22)[1:-1].permute(0, 2, 3, 1).numpy()
    for index, image in enumerate(pixels):
        path = tmp_path / "photos" / CLASSES[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    return tmp_path / "photos"


@pytest.mark.parametrize("name", FORMATS)
def test_a_usable_artifact(needs_backend, capsys, model_file, photos, tmp_path, name):
    needs_backend(name)
    target = tmp_path / "out" / f"tiny{BACKENDS[name].suffix}"
    code, out, err = run(
        capsys, model_file, "--calib", photos, "-o", target, "--eval", photos, "--num-images", 16
    )
    assert code == 0, err
    for fact in (
        "top-1 agreement",
        "acc@1 float",
        "SQNR dB",
        "the error comes from",
        "times as much",
        "n 20",
    ):
        assert fact in out
    artifact = Artifact(target, threads=1)
    assert artifact.session.precision == "int8"
    assert artifact.class_names == CLASSES
    assert artifact.logits(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)
    assert main(["predict", str(target), str(next(photos.rglob("*.png")))]) == 0
    assert any(name in capsys.readouterr().out for name in CLASSES)


def test_json_and_unlabelled_photos(needs_backend, capsys, model_file, photos, tmp_path):
    needs_backend("onnx")
    flat = photos / "cat"
    code, out, err = run(
        capsys, model_file, "--calib", photos, "-o", tmp_path / "t.onnx", "--eval", flat, "--json"
    )
    assert code == 0, err
    result = json.loads(out)
    assert result["eval"]["float_acc1"] is None
    assert result["eval"]["num_images"] == 7
    assert result["manifest"]["options"]["calibration_images"] == 20
    assert result["int8_bytes"] == (tmp_path / "t.onnx").stat().st_size
    assert len(result["layers"]) == 11


def assert_nothing_written(folder):
    assert [path.name for path in folder.rglob("*") if backend_of(path) is not None] == []
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def refused(capsys, tmp_path, *arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert_nothing_written(tmp_path)
    return err


def test_bad_calibration_folders(needs_backend, capsys, model_file, photos, tmp_path):
    needs_backend("onnx")
    target = ("-o", tmp_path / "t.onnx")
    (tmp_path / "empty").mkdir()
    assert "no images below" in refused(capsys, tmp_path, model_file, "--calib", tmp_path / "empty", *target)
    assert "no is none" in refused(capsys, tmp_path, model_file, "--calib", tmp_path / "no", *target)
    wanted = (model_file, "--calib", photos, *target, "--num-images")
    assert "50 calibration images are wanted" in refused(capsys, tmp_path, *wanted, 50)
    assert "at least 1, got 0" in refused(capsys, tmp_path, *wanted, 0)
    (photos / "cat" / "broken.png").write_bytes(b"not an image")
    assert "broken.png: damaged" in refused(capsys, tmp_path, model_file, "--calib", photos, *target)


def test_bad_models_and_targets(needs_backend, capsys, model_file, photos, tmp_path, tiny):
    needs_backend("onnx")
    model = create_model(tiny, num_classes=3, form="inference", input_spec=InputSpec(size=32)).eval()
    with torch.no_grad():
        model.stem.reparam_conv.bias[0] = torch.nan
    torch.save(model.state_dict(), tmp_path / "nan.pth")
    calib = ("--calib", photos)
    target = tmp_path / "t.onnx"
    assert "NaN" in refused(capsys, tmp_path, tmp_path / "nan.pth", *calib, "-o", target)
    assert "exported file" in refused(capsys, tmp_path, tmp_path / "old.tflite", *calib, "-o", target)
    assert "names no int8 format" in refused(capsys, tmp_path, model_file, *calib, "-o", tmp_path / "t.pt2")
    below_a_file = model_file / "t.onnx"
    assert "cannot write" in refused(capsys, tmp_path, model_file, *calib, "-o", below_a_file)


def test_an_existing_artifact_stays(capsys, model_file, photos, tmp_path):
    target = tmp_path / "t.onnx"
    target.write_text("mine")
    code, _, err = run(capsys, model_file, "--calib", photos, "-o", target)
    assert code == 1
    assert "pass --force" in err
    assert target.read_text() == "mine"


def test_warnings_say_why(needs_backend, capsys, model_file, photos, tmp_path):
    needs_backend("litert")
    black = tmp_path / "black"
    black.mkdir()
    for index in range(16):
        PIL.Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(black / f"{index}.png")
    code, _, err = run(capsys, model_file, "--calib", black, "-o", tmp_path / "black.tflite")
    assert code == 0
    assert "every calibration image is one colour" in err
    code, _, err = run(capsys, model_file, "--calib", photos, "-o", tmp_path / "t.tflite", "--num-images", 2)
    assert code == 0
    assert "2 calibration images leave ranges" in err


def test_weights_have_the_bits_that_were_asked_for(needs_backend, capsys, model_file, photos, tmp_path):
    needs_backend("litert")
    target = tmp_path / "t.tflite"
    command = (capsys, model_file, "--calib", photos, "-o", target, "--num-images", 16)
    with pytest.raises(SystemExit):
        run(*command, "--weight-bits", 6)
    assert not target.exists()
    code, out, _ = run(*command, "--weight-bits", 7, "--json")
    assert code == 0
    assert json.loads(out)["manifest"]["options"]["weight_bits"] == 7


def test_functions_of_source_code_get_names(needs_backend, capsys, model_file, photos, tmp_path):
    needs_backend("c")
    target = tmp_path / "cat.c"
    code, _, err = run(
        *(capsys, model_file, "--calib", photos, "-o", target),
        *("--prefix", "cat", "--visibility", "hidden", "--num-images", 16),
    )
    assert code == 0, err
    header = target.with_suffix(".h").read_text(encoding="utf-8")
    assert "CAT_API int cat_run(" in header
    assert 'visibility("hidden")' in header
    for name, option, wanted in (
        ("dog.c", ["--prefix", "a-b"], "must be a C identifier"),
        ("dog.onnx", ["--prefix", "dog"], "onnx files have none"),
    ):
        code, _, err = run(capsys, model_file, "--calib", photos, "-o", tmp_path / name, *option)
        assert (code, wanted in err) == (1, True), err
        assert not (tmp_path / name).exists()


def test_a_list_to_calibrate_on_and_names_of_the_classes(needs_backend, capsys, model_file, photos, tmp_path):
    needs_backend("onnx")
    listed, names, target = tmp_path / "list.csv", tmp_path / "names.txt", tmp_path / "t.onnx"
    paths = sorted(photos.rglob("*.png"))
    listed.write_text("image,label\n" + "".join(f"{path},{path.parent.name}\n" for path in paths))
    names.write_text("dog\nbird\ncat\n")
    options = ("--classes", names, "--eval", listed)
    code, out, err = run(capsys, model_file, "--calib", listed, "-o", target, *options, "--json")
    assert code == 0, err
    assert json.loads(out)["eval"]["float_acc1"] is not None
    assert Artifact(target).class_names == ("dog", "bird", "cat")
    names.write_text("dog\n")
    code, _, err = run(capsys, model_file, "--calib", listed, "-o", tmp_path / "u.onnx", *options)
    assert (code, "1 class names given for 3 classes" in err) == (1, True)
