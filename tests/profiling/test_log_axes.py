"""Points and decades of a roofline."""

import re

from mobileone.profiling.log_axes import LogAxes
from mobileone.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


def test_whole_decades_fill_the_chart():
    axes = LogAxes([0.3, 40.0], [2.0, 900.0])
    assert (axes.x, axes.y) == ((-1, 2), (0, 3))
    assert axes.at(0.1, 1.0) == (LEFT, HEIGHT - BOTTOM)
    assert axes.at(100.0, 1000.0) == (WIDTH - RIGHT, TOP)
    x, y = axes.at(10**0.5, 10**1.5)
    assert (x, y) == ((LEFT + WIDTH - RIGHT) / 2, (HEIGHT - BOTTOM + TOP) / 2)


def test_one_decade_is_a_chart_too():
    axes = LogAxes([10.0], [10.0])
    assert axes.at(10.0, 10.0) == (LEFT, HEIGHT - BOTTOM)


def test_every_decade_has_a_line_and_its_number():
    lines = "".join(LogAxes([0.3, 40.0], [2.0, 900.0]).grid())
    assert lines.count("<line") == 4 + 4
    labels = re.findall(r">([^<]+)</text>", lines)
    assert labels[:8] == ["0.1", "1", "10", "100", "1", "10", "100", "1000"]
    assert labels[8:] == ["FLOP a byte moved", "GFLOP/s, measured"]
