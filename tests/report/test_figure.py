"""Figures without a display, whole or not at all, whatever the texts in them."""

import sys
import warnings

import pytest
from PIL import Image

from mobileone.errors import ConfigError, MissingExtraError, MobileOneError, MobileOneWarning
from mobileone.report import figure as figure_module
from mobileone.report.figure import new_figure, require_png, save_figure, try_to_draw


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
        axes = ()

        def findobj(self, kind):
            return []

        def savefig(self, path, **_):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises((MobileOneError, OSError), match="No space left"):
        save_figure(Broken(), old)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old.png", b"old")]


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[train\]'"):
        new_figure(1, 1)


def pixels(path):
    with Image.open(path) as drawn:
        return drawn.convert("RGB").tobytes()


def titled(text, path):
    figure = new_figure(3, 2, dpi=50)
    axes = figure.subplots()
    axes.set_title(text)
    axes.set_yticks([0, 1], [text, "b"])
    return pixels(save_figure(figure, path))


@pytest.mark.parametrize(
    "text", [r"$\frac", "$x$ $", "a_b^c $1 to $2", r"\frac{1}{2}", "caf\udce9", "a\x00b"]
)
def test_a_users_text_is_no_markup(tmp_path, text):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MobileOneWarning)  # of characters that no font has
        drawn = titled(text, tmp_path / "a.png")
    assert drawn != titled("plain", tmp_path / "b.png")


def test_dollars_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")
    assert titled("$x$", tmp_path / "a.png") != titled("x", tmp_path / "b.png")


def test_characters_that_no_font_has_are_told_once(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")
    monkeypatch.setattr(figure_module, "_told", set())
    monkeypatch.setattr("mobileone.report.fonts._regular", lambda: iter(()))
    with pytest.warns(MobileOneWarning, match="no font of this machine has 猫; pictures show boxes") as told:
        titled("cat 猫", tmp_path / "a.png")
    assert len(told) == 1
    titled("another 猫", tmp_path / "b.png")


def test_other_warnings_come_through(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, in the extra train")

    class Warns:
        axes = ()

        def findobj(self, kind):
            return []

        def savefig(self, path, **_):
            path.write_bytes(b"")
            warnings.warn("out of ink", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="out of ink"):
        save_figure(Warns(), tmp_path / "a.png")


def test_a_picture_that_cannot_be_drawn_is_a_line():
    def fail(error):
        raise error

    assert try_to_draw(lambda: None, "a.png") is None
    assert try_to_draw(lambda: fail(KeyError("k")), "a.png") == "a.png was not drawn: KeyError('k')"
    line = try_to_draw(lambda: fail(MobileOneError("no room\nleft")), "a.png")
    assert line == "a.png was not drawn: no room left"
    with pytest.raises(MissingExtraError):
        try_to_draw(lambda: fail(MissingExtraError("needs matplotlib")), "a.png")
