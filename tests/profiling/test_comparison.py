"""Two profiles side by side."""

import pytest

from mobileone.profiling.comparison import ProfileComparison

from .conftest import profile_of


@pytest.fixture(scope="module")
def pair():
    return ProfileComparison(
        profile_of("mobileone_s0", form="train", size=64), profile_of("mobileone_s0", size=64)
    )


def test_a_row_that_one_network_lacks_is_none(pair):
    rows = {name: (first, second) for name, first, second in pair.rows()}
    first, second = rows["SpatialBN"]
    assert (first.name, second) == ("SpatialBN", None)
    first, second = rows["Conv"]
    assert first.num_operators > second.num_operators == 43
    assert rows.keys() == {op.kind for profile in (pair.first, pair.second) for op in profile.operators}


def test_the_order_is_the_firsts_and_then_what_only_the_second_has(pair):
    names = [name for name, _, _ in pair.rows("layer")]
    own = [row.name for row in pair.first.rows("layer")]
    assert names[: len(own)] == own
    assert "stem.reparam_conv" in names[len(own) :]


def test_the_speedup_is_of_whole_runs(pair):
    assert pair.speedup == pair.first.latency_ms / pair.second.latency_ms == 1
    written = pair.to_dict()
    assert (written["schema"], written["speedup"]) == ("mobileone.comparison/1", 1)
    assert written["first"]["model"] == "mobileone_s0:train"
    assert str(pair).endswith("2 ms a run: 1.00 times")
