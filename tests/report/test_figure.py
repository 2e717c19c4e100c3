"""Figures without a display, whole or not at all."""

import sys

import pytest
from PIL import Image

from mobileone.errors import ConfigError, MissingExtraError, MobileOneError
from mobileone.report.figure import new_figure, require_png, save_figure


@pytest.mark.parametrize("path", ["a.png", "folder/B.PNG"])
def test_png_is_png_in_any_case(path):
    require_png(path)


@pytest.mark.parametrize("path", ["a.jpg", "a", "png", "a.png.svg"])
def test_other_pictures_are_refused(path):
    with pytest.raises(ConfigError, match=f"the picture must end in .png, got {path}"):
        require_png(path)


def test_a_figure_is_drawn_at_its_size(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")
    figure = new_figure(3, 2, dpi=50)
    figure.subplots().bar([0], [1], width=99, color="#ff0000")
    path = save_figure(figure, tmp_path / "new" / "bar.png")
    with Image.open(path) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (150, 100))
        assert drawn.convert("RGB").getpixel((75, 60)) == (255, 0, 0)


def test_a_figure_that_cannot_be_written_leaves_the_old_one(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")
    old = tmp_path / "old.png"
    old.write_bytes(b"old")

    class Broken:
        def savefig(self, path, format):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises((MobileOneError, OSError), match="No space left"):
        save_figure(Broken(), old)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old.png", b"old")]


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[train\]'"):
        new_figure(1, 1)
