"""Images in rows of six, each at its place."""

import numpy as np
import pytest
from PIL import Image

from mobileone.errors import ConfigError
from mobileone.report.tiles import COLUMNS, draw_tiles

pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")


def plain(*rgb, height=20, width=20):
    return np.full((height, width, 3), rgb, dtype=np.uint8)


def test_every_image_stands_at_its_place_in_its_colour(tmp_path):
    colours = [(20 * index, 255 - 20 * index, 40) for index in range(8)]
    path = tmp_path / "tiles.png"
    draw_tiles([(plain(*colour), f"image {i}\nof eight") for i, colour in enumerate(colours)], path)
    with Image.open(path) as drawn:
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    places = []
    for colour in colours:
        rows, columns = np.nonzero(np.abs(pixels - colour).max(2) <= 1)
        assert len(rows) > 5000, colour
        places.append((rows.mean() / len(pixels), columns.mean() / pixels.shape[1]))
    rows, columns = zip(*places, strict=True)
    assert list(np.round(np.array(columns) * COLUMNS - 0.5)) == [0, 1, 2, 3, 4, 5, 0, 1]
    assert max(rows[:6]) < 0.5 < min(rows[6:])


def test_titles_are_drawn(tmp_path):
    for name, title in (("with", "W" * 8), ("without", "")):
        draw_tiles([(plain(255, 255, 255), title)], tmp_path / f"{name}.png")
    dark = {}
    for name in ("with", "without"):
        with Image.open(tmp_path / f"{name}.png") as drawn:
            dark[name] = int((np.asarray(drawn.convert("L")) < 100).sum())
    assert dark["with"] > dark["without"] == 0


def test_other_pictures_are_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        draw_tiles([], tmp_path / "tiles.jpg")
