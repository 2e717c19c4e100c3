"""What both clocks share."""

from mobileone.profiling.clock import interquartile_mean


def test_interquartile_mean():
    assert interquartile_mean([5.0]) == 5.0
    assert interquartile_mean([1, 9]) == 5.0
    assert interquartile_mean([0, 4, 5, 6, 7, 1000, 5, 4]) == 5.0
