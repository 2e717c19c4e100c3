"""Pictures of mistakes, with ten classes and with a thousand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileone.data.digits import load_digits
from mobileone.evaluation import pictures
from mobileone.evaluation.answers import Answers
from mobileone.evaluation.pictures import (
    MAX_LABELLED,
    _confused_classes,
    _largest,
    draw_confusion,
    draw_mistakes,
    draw_worst_classes,
    short_name,
)
from mobileone.imagenet import WNIDS
from mobileone.report.figure import save_figure


def answers(classes: tuple[str, ...], num_images: int, *, wrong: bool = True) -> Answers:
    random = np.random.default_rng(0)
    labels = np.arange(num_images) % len(classes)
    shifts = random.integers(0, 2, num_images) * random.integers(1, 4, num_images) if wrong else 0
    return Answers(
        classes=classes,
        indices=np.arange(num_images),
        labels=labels,
        predictions=(labels + shifts) % len(classes),
        probabilities=random.random(num_images).astype(np.float32),
        in_top5=np.ones(num_images, dtype=bool),
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every figure that is drawn, before it is written."""
    figures: list[Any] = []

    def save(figure: Any, path: Path) -> Path:
        figures.append(figure)
        return save_figure(figure, path)

    monkeypatch.setattr(pictures, "save_figure", save)
    return figures


def words(labels: Iterable[Any]) -> list[str]:
    return [label.get_text() for label in labels]


def test_few_classes_are_all_named_and_counted(tmp_path: Path, drawn: list[Any]) -> None:
    matrix = np.array([[5, 2, 0], [0, 7, 1], [3, 0, 4]])
    draw_confusion(matrix, ("ant", "bee", "cat"), tmp_path / "confusion.png")
    (axes,) = drawn[0].axes
    assert words(axes.get_yticklabels()) == words(axes.get_xticklabels()) == ["ant", "bee", "cat"]
    cells = {(text.get_position()[::-1]): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "5", (0, 1): "2", (1, 1): "7", (1, 2): "1", (2, 0): "3", (2, 2): "4"}
    assert axes.images[0].get_array()[0].tolist() == pytest.approx([5 / 7, 2 / 7, 0])
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.format == "PNG"


def test_many_classes_are_a_map_beside_the_names_of_the_confused(tmp_path: Path, drawn: list[Any]) -> None:
    matrix = np.diag(np.full(1000, 9))
    matrix[3, 7] = 3
    draw_confusion(matrix, WNIDS, tmp_path / "confusion.png")
    whole, named = (axes for axes in drawn[0].axes if axes.get_title())
    assert whole.get_title() == "all 1000 classes, right answers left out"
    cells = whole.images[0].get_array()
    assert cells.shape == (250, 250)
    assert np.argwhere(cells > 0).tolist() == [[0, 1]], "right answers do not show, the mistake does"
    assert words(named.get_yticklabels()) == [short_name(WNIDS[3]), short_name(WNIDS[7])]


def test_the_worst_classes_come_first_with_what_they_are_taken_for(tmp_path: Path, drawn: list[Any]) -> None:
    draw_worst_classes(np.array([[9, 1, 0], [3, 1, 0], [0, 0, 0]]), ("ant", "bee", "cat"), tmp_path / "w.png")
    (axes,) = drawn[0].axes
    assert words(axes.get_yticklabels()) == ["bee", "ant"], "without images there is no bar"
    assert [bar.get_width() for bar in axes.patches] == [25.0, 90.0]
    assert words(axes.texts) == ["25 % of 4, 3 as ant", "90 % of 10, 1 as bee"]
    assert "2 worst of 2 classes" in axes.get_title()
    assert "71.4 %" in axes.get_title()


def test_a_single_class_can_be_drawn(tmp_path: Path) -> None:
    draw_confusion(np.array([[3]]), ("only",), tmp_path / "confusion.png")
    draw_worst_classes(np.array([[3]]), ("only",), tmp_path / "worst.png")
    assert (tmp_path / "worst.png").exists()


def test_the_named_excerpt_holds_the_commonest_mistakes() -> None:
    matrix = np.zeros((100, 100), dtype=np.int64)
    matrix[np.arange(0, 98, 2), np.arange(1, 99, 2)] = np.arange(1, 50)  # 96 seen as 97 is the commonest
    chosen = _confused_classes(matrix, MAX_LABELLED)
    assert chosen == list(range(68, 98))
    assert _confused_classes(np.eye(50, dtype=np.int64), MAX_LABELLED) == []


def test_a_shrunk_matrix_keeps_every_largest_value() -> None:
    values = np.zeros((7, 7))
    values[6, 2] = 5.0
    assert _largest(values, 4).tolist() == [[0] * 4, [0] * 4, [0] * 4, [0, 5.0, 0, 0]]
    assert _largest(values, 7) is not None
    assert np.array_equal(_largest(values, 7), values)


def test_the_sheet_shows_mistakes_alone_and_is_not_drawn_without(tmp_path: Path) -> None:
    source = load_digits("val")
    wrong = answers(source.classes, 20)
    count = draw_mistakes(wrong, source, tmp_path / "mistakes.png")
    assert 0 < count == len(wrong.mistakes()) < 20
    assert draw_mistakes(answers(source.classes, 20, wrong=False), source, tmp_path / "none.png") == 0
    assert not (tmp_path / "none.png").exists()


def test_long_names_are_cut() -> None:
    assert short_name("n02085620") == "Chihuahua"
    assert len(short_name("x" * 99)) == 22
