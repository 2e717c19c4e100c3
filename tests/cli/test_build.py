"""`mobileone build`, on what `mobileone quantize --format c` wrote."""

import json
import shutil

import PIL.Image
import pytest

from mobileone.c_compiler import TARGETS, library_suffix
from mobileone.checkpoint.store import save_model
from mobileone.cli.build import TargetName
from mobileone.cli.main import main
from mobileone.model.create import create_model


@pytest.fixture
def net(tiny, tmp_path, capsys):
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("needs a C compiler")
    model = create_model(tiny, num_classes=3, form="inference", class_names=["cat", "dog", "hen"]).eval()
    model.set_input_size(32)
    checkpoint = str(save_model(model, tmp_path / "net.safetensors"))
    for number in range(8):
        PIL.Image.new("RGB", (40, 50), (30 * number, 99, 200 - 20 * number)).save(tmp_path / f"{number}.png")
    assert main(["quantize", checkpoint, "--calib", str(tmp_path), "-o", str(tmp_path / "net.c")]) == 0
    assert "runs in C (" in capsys.readouterr().out
    return tmp_path / "net.c"


def test_a_network_becomes_a_library(net, tmp_path, capsys):
    library = tmp_path / f"libnet{library_suffix()}"
    arguments = ["build", str(net), "-o", str(library), "--prefix", "henhouse", "--threads"]
    assert main(arguments) == 0
    assert "call henhouse_run" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "exists already; pass --force" in capsys.readouterr().err
    assert main([*arguments, "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(library)
    assert told["bytes"] == library.stat().st_size
    assert "-DHENHOUSE_THREADS" in told["command"]


def test_predict_takes_the_source(net, tmp_path, capsys):
    assert main(["predict", str(net), str(tmp_path / "0.png"), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert {score["class_name"] for score in answer["scores"]} <= {"cat", "dog", "hen"}


def test_a_source_without_its_manifest(net, tmp_path, capsys):
    net.with_name("net.c.json").unlink()
    assert main(["build", str(net), "-o", str(tmp_path / "x.o")]) == 1
    assert "has no manifest net.c.json beside it" in capsys.readouterr().err


def test_the_choice_of_targets_is_the_tables(capsys):
    from typing import get_args

    assert list(get_args(TargetName)) == list(TARGETS)
    with pytest.raises(SystemExit):
        main(["build", "net.c", "-o", "x.so", "--target", "vax"])
