"""Bars and the roofline of a page."""

import re

from mobileone.profiling.profile_charts import MAX_BARS, bars, paired_bars, roofline, roofline_rows, roofs
from mobileone.profiling.roofline import Machine

from .conftest import MACHINE, profile_of


def shares(chart):
    return [float(share) for share in re.findall(r"--share:([0-9.]+)", chart)]


def test_bars_are_sorted_and_what_is_beyond_is_one_bar():
    rows = profile_of("mobileone_s0").rows("layer")
    chart = bars(rows)
    found = shares(chart)
    assert len(found) == MAX_BARS + 1
    assert found[:-1] == sorted(found[:-1], reverse=True)
    assert max(found) == 1, "the longest fills its track"
    assert f"{len(rows) - MAX_BARS} others" in chart
    assert "others" not in bars(rows[:3])


def test_paired_bars_share_one_scale_and_leave_out_what_nobody_spends_time_in():
    first, second = profile_of("mobileone_s0", form="train").rows(), profile_of("mobileone_s0").rows()
    conv = next(row for row in first if row.name == "Conv")
    chart = paired_bars([("Conv", conv, second[0]), ("SpatialBN", conv, None), ("nothing", None, None)])
    assert "nothing" not in chart
    assert "–" in chart
    assert max(shares(chart)) == 1
    assert len(shares(chart)) == 4


def test_roofs_are_the_fastest_and_the_largest_copy():
    assert roofs(MACHINE) == (("copy of 1 MiB", 50.0, ""), ("copy of 256 MiB", 10.0, " far"))
    one = Machine(peak_gflops=1, peak_source="", copies=((2**20, 5.0),))
    assert roofs(one) == (("copy of 1 MiB", 5.0, ""),)


def test_the_roofline_has_a_mark_for_every_layer_that_multiplies():
    profile = profile_of("mobileone_s0", size=64)
    drawn = roofline(profile)
    rows = roofline_rows(profile)
    assert len(rows) == 44
    assert drawn.count("<circle") == sum(row.limit == "arithmetic" for row in rows)
    assert drawn.count("<rect") == sum(row.limit == "memory" for row in rows)
    assert drawn.count("<polyline") == 2
    assert roofline(profile_of("mobileone_s0", size=64, machine=None)) == ""
