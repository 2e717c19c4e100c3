"""Fonts for characters that matplotlib's own lacks."""

import warnings

import pytest

pytest.importorskip("matplotlib", reason="fonts are matplotlib's, in the extra train")

from matplotlib import font_manager

from mobileone.report.figure import new_figure, save_figure
from mobileone.report.fonts import _characters, _regular, fonts_for


def elsewhere() -> tuple[str, str]:
    """A character that the usual font lacks and another font of this machine has, and such a font."""
    usual = _characters(font_manager.findfont("DejaVu Sans"))
    for entry in _regular():
        for character in sorted(_characters(entry.fname) - usual):
            if character.isprintable() and not character.isspace():
                return character, entry.name
    pytest.skip("every font here has the same characters")


def test_what_the_usual_font_has_needs_no_other():
    assert fonts_for("größe, ελ") == (["DejaVu Sans"], "")


def test_another_font_is_taken_where_it_is_needed(tmp_path):
    character, family = elsewhere()
    assert fonts_for(f"cat {character}") == (["DejaVu Sans", family], "")
    figure = new_figure(2, 1)
    figure.subplots().set_title(f"cat {character}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "a.png")


def test_what_no_font_has_is_named(monkeypatch):
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    assert fonts_for("cat 猫") == (["DejaVu Sans"], "猫")


def test_placeholders_are_no_fonts():
    assert all(not entry.name.startswith("Last Resort") for entry in _regular())
    names = [entry.name for entry in _regular()]
    assert len(names) == len(set(names))


def test_a_font_that_cannot_be_opened_has_nothing(tmp_path):
    (tmp_path / "a.ttf").write_bytes(b"no font")
    assert _characters(str(tmp_path / "a.ttf")) == frozenset()
