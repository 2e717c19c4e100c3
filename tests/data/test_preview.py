"""The sheet of training batches."""

import numpy as np
import pytest
from PIL import Image

from mobileone.data.augment import TrainTransform
from mobileone.data.digits import load_digits
from mobileone.data.loader import train_loader
from mobileone.data.preview import CAPTION, COLUMNS, GAP, ROWS, draw_batches
from mobileone.errors import ConfigError


def test_it_shows_the_first_batch_of_a_run(tmp_path):
    source, path = load_digits("train"), tmp_path / "sheet.png"
    small, large = TrainTransform(size=16), TrainTransform(size=24)
    draw_batches(source, [("small", small), ("large", large)], path, seed=3)
    with Image.open(path) as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (2 * (CAPTION + ROWS * (24 + GAP + CAPTION)), COLUMNS * (24 + GAP) + GAP, 3)
    first = next(iter(train_loader(source, small, batch_size=COLUMNS * ROWS, seed=3)))
    for place in (0, 9, 31):
        x, y = GAP + place % COLUMNS * (24 + GAP), CAPTION + place // COLUMNS * (24 + GAP + CAPTION)
        shown = sheet[y : y + 16, x : x + 16]
        assert np.array_equal(shown, first.images[place].permute(1, 2, 0).numpy())


def test_other_pictures_than_png_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"end in \.png"):
        draw_batches(load_digits("train"), [("a", TrainTransform(size=8))], tmp_path / "a.jpg")
