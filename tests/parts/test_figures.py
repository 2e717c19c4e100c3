"""Figures from rows."""

import pytest

from mobileone.errors import DataError
from mobileone.parts.figures import Figures


def row(label, predicted, place, loss=0.5, sure=None):
    values = {"label": label, "predicted": predicted, "place": place, "loss": loss, "sure": sure}
    return {"image": "x", "error": None, **values}


def test_figures_are_counted_over_all_parts_and_are_no_averages_of_averages():
    figures = Figures([str(number) for number in range(7)])
    figures.add([row(0, 0, 0)])
    figures.add([row(1, 0, 1), row(2, 0, 4), row(3, 0, 5), {"image": "bad", "error": "why"}])
    result = figures.result()
    assert (result.acc1, result.acc5, result.num_images) == (25.0, 75.0, 4)
    assert (result.skipped, result.coverage) == (("bad",), None)
    assert result.metrics["recall/0"] == 100


def test_the_sure_ones():
    figures = Figures(["a", "b"])
    figures.add([row(0, 0, 0, sure=True), row(0, 1, 1, sure=True), row(1, 1, 0, sure=False)])
    figures.add([row(1, 1, 0, sure=False)])
    assert (figures.result().coverage, figures.result().accepted_acc1) == (50, 50)


def test_what_is_no_result():
    figures = Figures(["a"])
    figures.add([{"image": "bad", "error": "why"}])
    with pytest.raises(DataError, match="no image could be read, 1 are damaged"):
        figures.result()
    with pytest.raises(DataError, match="lack something"):
        figures.add([{"image": "x", "error": None}])
