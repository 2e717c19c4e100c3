"""The test command."""

import json

import pytest
from PIL import Image

from mobileone.checkpoint.store import save_model
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model


def test_test_fuses_first_and_counts_every_image(run, model_file, photos):
    code, out, err = run("test", model_file, "--data", photos, "--json", "--workers", 0)
    result = json.loads(out)
    assert (code, result["num_images"], result["form"]) == (0, 6, "inference")
    assert 0 <= result["acc1"] <= result["acc5"] == 100.0
    assert "fused" in err


def test_unreadable_images_stop_or_are_named(run, model_file, photos):
    (photos / "val" / "cat" / "bad.jpg").write_bytes(b"not a picture")
    code, out, err = run("test", model_file, "--data", photos, "--workers", 0)
    assert (code, out) == (1, "")
    assert "bad.jpg" in err.splitlines()[-1]
    command = ["test", model_file, "--data", photos, "--workers", 0, "--on-bad-image", "skip"]
    code, out, err = run(*command)
    assert code == 0
    assert "n 6  skipped 1" in out
    assert "bad.jpg" in err


def test_size_and_crop_of_the_view_can_be_set(run, model_file, photos):
    code, out, err = run(
        "test", model_file, "--data", photos, "--workers", 0, "--input-size", 64, "--crop", 1, "--json"
    )
    assert code == 0
    assert "fused; 64 px, crop 1.0, bilinear" in err
    spec = json.loads(out)["input_spec"]
    assert (spec["size"], spec["crop"]) == (64, 1.0)


def test_an_exported_file_says_what_runs_it_and_keeps_its_size(run, model_file, photos, tmp_path):
    target = tmp_path / "net.pt2"
    assert run("export", model_file, "-o", target)[0] == 0
    common = ("test", target, "--data", photos, "--workers", 0)
    code, out, err = run(*common, "--crop", 1, "--json")
    result = json.loads(out)
    assert (code, result["num_images"], result["input_spec"]["crop"]) == (0, 6, 1.0)
    assert result["runs"].startswith("PyTorch ")
    assert result["runs"] in err
    for options, wanted in (
        (["--input-size", 64], "exported for one size; export it with another input_size"),
        (["--device", "cuda"], "runs on the CPU; drop --device cuda"),
    ):
        code, _, err = run(*common, *options)
        assert code == 1
        assert wanted in err


def test_rectangles_are_tested_exported_and_predicted_alike(run, model_file, photos, tmp_path):
    size = ("--input-size", "48x32")
    code, out, err = run("test", model_file, "--data", photos, "--workers", 0, *size, "--json")
    assert (code, json.loads(out)["input_spec"]["size"]) == (0, [48, 32])
    assert "48x32 px" in err
    target = tmp_path / "net.pt2"
    assert run("export", model_file, "-o", target, *size)[0] == 0
    code, exported, _ = run("test", target, "--data", photos, "--workers", 0, "--json")
    loss, again = (json.loads(each)["loss"] for each in (out, exported))
    assert (code, again) == (0, pytest.approx(loss, rel=1e-4))
    photo = next(photos.rglob("*.jpg"))
    code, predicted, _ = run("predict", model_file, photo, *size, "--json")
    same = run("predict", target, photo, "--json")[1]
    best, other = (json.loads(each)[0]["scores"][0] for each in (predicted, same))
    assert best["index"] == other["index"]
    assert best["probability"] == pytest.approx(other["probability"], rel=1e-4)
    code, _, err = run("predict", target, photo, *size)
    assert (code, "exported for one size" in err) == (1, True)


@pytest.fixture
def numbered(tiny, tmp_path):
    """A network without class names that knows 12 grey levels, and folders 1 … 12 of them."""
    model = create_model(tiny, num_classes=12, input_spec=InputSpec(size=32), form="inference").eval()
    for number in range(1, 13):
        (tmp_path / "numbers" / str(number)).mkdir(parents=True)
        Image.new("RGB", (32, 32), (20 * number,) * 3).save(tmp_path / "numbers" / str(number) / "1.png")
    return save_model(model, tmp_path / "nameless.safetensors"), tmp_path / "numbers"


def test_an_order_of_classes_that_is_guessed_is_said_and_can_be_given(run, numbered, tmp_path):
    model, folder = numbered
    command = ("test", model, "--data", folder, "--workers", 0, "--json")
    code, text, err = run(*command)
    assert code == 0
    assert "warning: the model has no class names" in err
    assert "text order" in json.loads(text)["notes"][-1]
    natural = tmp_path / "classes.txt"
    natural.write_text("\n".join(map(str, range(1, 13))))
    code, given, err = run(*command, "--classes", natural)
    assert (code, json.loads(given)["notes"]) == (0, [])
    assert "no class names" not in err
    assert json.loads(given)["loss"] != pytest.approx(json.loads(text)["loss"], rel=1e-6)
    text_order = tmp_path / "text_order.txt"
    text_order.write_text("\n".join(sorted(map(str, range(1, 13)))))
    again = run(*command, "--classes", text_order)[1]
    assert json.loads(again)["loss"] == pytest.approx(json.loads(text)["loss"])
    natural.write_text("1\n2\n")
    code, _, err = run(*command, "--classes", natural)
    assert (code, "2 class names for a model of 12 classes" in err) == (1, True)


def test_predictions_carry_the_names_of_a_list(run, numbered, tmp_path):
    model, folder = numbered
    names = tmp_path / "classes.json"
    names.write_text(json.dumps([f"grey {n}" for n in range(12)]))
    (folder / "1" / "odd.heic").write_bytes(b"")
    code, text, err = run("predict", model, folder / "1", "--classes", names, "--json")
    (prediction,) = json.loads(text)
    assert code == 0
    assert prediction["scores"][0]["class_name"].startswith("grey ")
    assert "not looked at: 1 .heic" in err
