"""Which candidate is recommended, from made-up timings."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobileone.benchmarking.bench_result import Accuracy
from mobileone.benchmarking.recommendation import acceptable, pareto_front, points_lost, recommend

from .conftest import row

REFERENCE = Accuracy(num_images=100, top1=80.0, agreement=100.0)


def chosen(*rows, tolerance=1.0, evaluated=False):
    return recommend(rows, REFERENCE, tolerance=tolerance, evaluated=evaluated)


def test_the_fastest_is_recommended():
    found = chosen(row("a", 2.0), row("b", 1.0), row("c", 1.5))
    assert found.row.backend == "b"
    assert str(found) == "use b fp32, 1 thread: 1 ms; the fastest, 1.50 times as fast as c fp32, 1 thread"


def test_fewer_threads_win_among_equals():
    noisy = [row("a", 1.00, threads=2, spread=0.1), row("a", 1.03, threads=1, spread=0.1)]
    found = chosen(*noisy)
    assert found.row.threads == 1
    assert "as fast within noise as a fp32, 2 threads (3.0 % behind), with fewer threads" in found.reason


def test_a_difference_beyond_noise_counts():
    assert chosen(row("a", 1.00, threads=2), row("a", 1.03, threads=1)).row.threads == 2


def test_noise_never_excuses_more_than_five_percent():
    wide = [row("a", 1.00, threads=2, spread=0.9), row("a", 1.06, threads=1, spread=0.9)]
    assert chosen(*wide).row.threads == 2


def test_accuracy_decides_first():
    rows = [row("exact", 2.0, accuracy=80.0), row("rough", 1.0, accuracy=78.5, precision="int8")]
    found = chosen(*rows, evaluated=True)
    assert found.row.backend == "exact"
    assert "faster but not accurate enough: rough int8" in found.reason
    assert "top-1 80.00 %, 0.00 points lost of 1 allowed" in found.reason
    assert chosen(*rows, evaluated=True, tolerance=1.5).row.backend == "rough"


def test_agreement_decides_where_there_are_no_labels():
    lossy = replace(row("a"), accuracy=Accuracy(num_images=100, top1=None, agreement=97.0))
    assert points_lost(lossy, Accuracy(num_images=100, top1=None, agreement=100.0)) == 3.0
    assert chosen(lossy, evaluated=True) is None
    found = chosen(lossy, evaluated=True, tolerance=3)
    assert "agreement with PyTorch 97.00 %, 3.00 points lost of 3 allowed" in found.reason


def test_without_images_low_precision_is_named_as_unproven():
    found = chosen(row("a", 1.0, precision="bf16"), row("b", 2.0))
    assert found.row.precision == "bf16"
    assert "not measured, give images to evaluate on" in found.reason
    assert "the fastest fp32 is b fp32, 1 thread" in found.reason


def test_nothing_ran_nothing_is_recommended():
    failed = row("a", latency=None, reason="crashed")
    assert chosen(failed) is None
    assert acceptable([failed], None, tolerance=1, evaluated=False) == []


def test_one_that_could_not_be_evaluated_is_not_recommended():
    assert chosen(row("a", 1.0), row("b", 2.0, accuracy=80.0), evaluated=True).row.backend == "b"


def test_labels_without_pytorch_to_compare_with_leave_the_choice_to_latency():
    rows = [
        replace(row("a", ms), accuracy=Accuracy(num_images=9, top1=top1, agreement=None))
        for ms, top1 in ((1.0, 50.0), (2.0, 60.0))
    ]
    assert recommend(rows, None, tolerance=1, evaluated=True).row is rows[0]


@settings(suppress_health_check=[HealthCheck.too_slow])  # how busy the machine is, is not tested
@given(
    st.lists(
        st.tuples(st.floats(0.1, 100), st.floats(0, 2), st.integers(1, 4), st.floats(70, 81)),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_the_recommended_is_within_five_percent_of_the_best(timings, evaluated):
    rows = [
        row(f"b{i}", ms, spread=spread, threads=threads, accuracy=accuracy)
        for i, (ms, spread, threads, accuracy) in enumerate(timings)
    ]
    allowed = [each for each in rows if not evaluated or each.accuracy.top1 >= 79.0]
    found = chosen(*rows, evaluated=evaluated)
    if not allowed:
        assert found is None
        return
    best = min(each.latency.median_ms for each in allowed)
    assert found.row in allowed
    assert found.row.latency.median_ms <= 1.05 * best * (1 + 1e-9)


def test_pareto_front_by_hand():
    a, b = row("a", 1.0, accuracy=70.0), row("b", 2.0, accuracy=75.0)
    c, d, e = row("c", 3.0, accuracy=74.0), row("d", 4.0, accuracy=80.0), row("e", 1.0, accuracy=69.0)
    assert pareto_front([d, c, b, a, e, row("f", 0.1)]) == [a, b, d]
