"""Pictures of mistakes, with ten classes and with a thousand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileone.data.digits import load_digits
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


@pytest.mark.parametrize("classes", [tuple("0123456789"), WNIDS], ids=["ten", "thousand"])
def test_they_are_drawn_and_large_enough_to_read(classes: tuple[str, ...], tmp_path: Path) -> None:
    matrix = answers(classes, 2 * len(classes)).confusion()
    draw_confusion(matrix, classes, tmp_path / "confusion.png")
    draw_worst_classes(matrix, classes, tmp_path / "worst.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert min(picture.size) > 700
    with Image.open(tmp_path / "worst.png") as picture:
        assert picture.size[0] > 900


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
