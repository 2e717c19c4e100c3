"""The explain command."""

from pathlib import Path

import pytest
from PIL import Image

from mobileone.checkpoint.store import save_model
from mobileone.cli.main import main
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.variants import Variant


@pytest.fixture
def model(tiny: Variant) -> MobileOne:
    classes = ("cat", "dog", "owl", "fox")
    return create_model(tiny, num_classes=4, input_spec=InputSpec(size=64), class_names=classes).eval()


def test_the_command_draws_a_row_an_image(
    model: MobileOne, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(save_model(model, tmp_path / "model.safetensors"))
    photos = []
    for index in range(2):
        photos.append(str(tmp_path / f"{index}.png"))
        Image.new("RGB", (80, 70), (40 * index, 90, 120)).save(photos[-1])
    picture = str(tmp_path / "maps.png")
    assert main(["explain", weights, *photos, "--png", picture, "--input-size", "96"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == picture
    assert "1512.04150" in captured.err
    with Image.open(picture) as drawn:
        colours = {colour for _, colour in drawn.convert("RGB").getcolors(1 << 24)}
    assert {(0, 90, 120), (40, 90, 120)} <= colours, "both photos, in their own colours"
    assert len(colours) > 100, "and the maps over them"
    for arguments, message in (
        ([weights, *photos, "--png", "maps.jpg"], "must end in .png"),
        ([weights, "--png", picture], "takes 1 to 24 image files, got 0"),
        (["model.onnx", *photos, "--png", picture], "is an exported file"),
        ([weights, *photos, "--png", picture, "--class", "cow"], "no class 'cow'"),
    ):
        assert main(["explain", *arguments]) == 1
        assert message in capsys.readouterr().err
