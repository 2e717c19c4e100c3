"""Predictions as a picture."""

from dataclasses import replace

import PIL.Image
import pytest

from mobileone.errors import ConfigError
from mobileone.inference import sheet
from mobileone.inference.predictor import Prediction, Score

pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")


@pytest.fixture
def prediction(tmp_path):
    path = tmp_path / "photo.png"
    PIL.Image.new("RGB", (20, 10), (9, 8, 7)).save(path)
    scores = (Score(0, "n01440764", "tench, Tinca tinca", 0.756), Score(1, "dog", "dog", 0.2))
    return Prediction(str(path), scores)


def test_a_tile_is_the_image_under_its_likeliest_class(prediction, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(sheet, "draw_tiles", lambda tiles, path: drawn.append((tiles, path)))
    sheet.draw_sheet([prediction] * 70, tmp_path / "sheet.png")
    ((tiles, path),) = drawn
    assert path == tmp_path / "sheet.png"
    assert len(tiles) == sheet.MAX_IMAGES == 60
    pixels, title = tiles[0]
    assert title == "tench\n76 %"
    assert (pixels.shape, pixels[0, 0].tolist()) == ((10, 20, 3), [9, 8, 7])


def test_it_is_a_png(prediction, tmp_path):
    sheet.draw_sheet([prediction], tmp_path / "sheet.png")
    with PIL.Image.open(tmp_path / "sheet.png") as picture:
        assert (9, 8, 7) in {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        sheet.draw_sheet([prediction], tmp_path / "sheet.pdf")


def test_a_tile_of_labels_names_all_of_them(prediction):
    assert sheet._title(replace(prediction, labels=("hat", "red"))) == "hat, red"
    assert sheet._title(replace(prediction, labels=())).startswith("none (best tench")
