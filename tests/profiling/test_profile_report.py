"""The report's text, against the reference's and against published totals."""

from pathlib import Path

import pytest

from mobileone.profiling.comparison import ProfileComparison
from mobileone.profiling.profile_report import _section, comparison_report, operator_sections, profile_report

from .conftest import profile_of

GOLDEN = (Path(__file__).parents[1] / "golden" / "report_mobileone_s0.txt").read_text(encoding="utf-8")
GFLOP = {"s0": "0.550222", "s1": "1.65012", "s2": "2.59685", "s3": "3.79158", "s4": "5.96044"}


def without_time(text):
    """All lines but those of the time section, whose figures are measured."""
    before, _, rest = text.partition("Time per operator type:\n")
    return before + rest[rest.index("FLOP per operator type:") :]


def test_every_counted_line_of_s0_is_the_references():
    assert without_time(operator_sections(profile_of("mobileone_s0")) + "\n") == without_time(GOLDEN)


def test_the_check_sees_another_network():
    assert without_time(operator_sections(profile_of("mobileone_s0", size=225)) + "\n") != without_time(
        GOLDEN
    )


def test_the_time_section_has_the_references_form():
    golden = GOLDEN.splitlines()[1:12]
    times = {line.rsplit(" ", 1)[1]: float(line[:15]) for line in golden[1:-1]}
    printed = _section("Time", "ms", times)
    # Its percentages are of figures with more digits than it prints, so the sixth digit may differ.
    assert [line[:20] for line in printed] == [line[:20] for line in golden]
    assert [line[30:] for line in printed] == [line[30:] for line in golden]
    for ours, theirs in zip(printed[1:-1], golden[1:-1], strict=True):
        assert float(ours[20:30]) == pytest.approx(float(theirs[20:30]), rel=1e-5)


@pytest.mark.parametrize("size", GFLOP)
def test_totals_of_every_variant(size):
    text = profile_report(profile_of(f"mobileone_{size}"))
    assert f"{GFLOP[size]:>15} GFLOP in Total" in text.splitlines()


def test_sections_by_other_conventions():
    text = operator_sections(profile_of("mobileone_s0", convention="fvcore"))
    assert "       0.275161 GMAC in Total" in text.splitlines()
    assert "5.0176e-05 GMAC.  0.0182352%. AveragePool" in text
    assert "        39.0258 MB in Total" in text.splitlines()


def test_what_no_rule_counts_is_named():
    text = profile_report(profile_of("mobileone_s4"))
    assert (
        "No cost rule in caffe2, time only: AveragePool, ExpandDims, Gather, Reshape, Shape, Sigmoid" in text
    )
    assert "Sigmoid" in [line.rsplit(" ", 1)[-1] for line in text.split("FLOP per")[0].splitlines()]


def test_ties_go_by_name_and_nothing_divides_by_zero():
    lines = _section("FLOP", "GFLOP", {"Relu": 0.0, "Concat": 0.0})
    assert [line.split()[-1] for line in lines[1:3]] == ["Concat", "Relu"]
    assert lines[1] == "              0 GFLOP.          0%. Concat"


def test_layers_and_stages():
    profile = profile_of("mobileone_s0")
    lines = profile_report(profile, "stage").splitlines()
    assert [line.split()[0] for line in lines[1:8]] == [
        "stem", "stages.0", "stages.1", "stages.2", "stages.3", "head", "total",
    ]  # fmt: skip
    assert "275.110" in lines[7]
    layers = {row.name: row for row in profile.rows("layer")}
    stem = layers["stem.reparam_conv"]
    assert (stem.input_shape, stem.output_shape) == ((1, 3, 224, 224), (1, 48, 112, 112))
    assert stem.macs == 48 * 27 * 112 * 112
    assert stem.intensity == 2 * stem.macs / (stem.bytes_read + stem.bytes_written)
    assert len(layers) == 2 * 43 + 2
    assert "bound by" not in profile_report(profile_of("mobileone_s0", machine=None), "layer")


def test_comparison():
    train, fused = (profile_of("mobileone_s0", form=form) for form in ("train", "inference"))
    text = comparison_report(ProfileComparison(train, fused))
    assert ["parameters", "5,293,272", "2,078,504", "2.55"] in [line.split() for line in text.splitlines()]
    norm = next(line.split() for line in text.splitlines() if line.startswith("SpatialBN"))
    assert norm[2] == "–"
    assert norm[4:6] == ["226", "–"]
    assert text.count("Ceilings:") == 1
