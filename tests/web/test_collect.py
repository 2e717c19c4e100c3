"""Results of devices become a table and a picture, or one line that says what is wrong with them."""

import base64
import json
import zlib

import PIL.Image
import pytest

from mobileone.errors import DataError, MobileOneError
from mobileone.web.collect import collect, collect_report, draw_collected


def result(device="Pixel 7", *, median=7.0, threads=1, sustained=False, proofs=True, title="s0"):
    """What the page would copy."""
    network = {"title": title, "runtime": "engine", "precision": "int8", "sha256": "0" * 64, "bytes": 9}
    curve = {"seconds": [1.0, 2.0], "milliseconds": [7.1, 9.4]}
    return {
        "format": "mobileone.web/1",
        "made": "2026-11-28T19:00:00.000Z",
        "site": "mobileone 0.1.0",
        "device": {
            **{"name": device, "browser": "Chromium 156", "cores": 8, "isolated": True, "memoryGB": 8},
            **{"refreshHz": 60, "power": None, "pressure": "nominal"},
        },
        "measurements": [
            {
                "network": network | {"height": 224, "width": 224},
                **{"threads": threads, "warmup": 5, "milliseconds": [median - 1, median, median + 3]},
                **{"loadMilliseconds": 30.0, "coldMilliseconds": 12.5, "memoryBytes": None},
                "sustained": curve if sustained else None,
            }
        ],
        "proofs": [
            {
                **{"title": title, "threads": 1, "differing": 0 if proofs else 2, "of": 10, "greatest": 0},
                **{"pixelsDiffering": 0, "pixelsOf": 4},
            }
        ],
    }


def link(value):
    pack = zlib.compressobj(wbits=-15)
    packed = pack.compress(json.dumps(value).encode()) + pack.flush()
    return "https://example.org/site/#result=" + base64.urlsafe_b64encode(packed).decode().rstrip("=")


@pytest.fixture
def write(tmp_path):
    """`write(name, text)`: a file's path."""

    def to_file(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return to_file


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"close": True}, "close"),
        ({"close": False}, "differs"),
        ({}, "differs"),
        ({"close": True, "pixelsDiffering": 1}, "differs"),
    ],
)
def test_logits_that_differ_by_rounding_are_close(write, changes, told):
    given = result(proofs=False)
    given["proofs"][0] |= changes
    given["proofs"].append(given["proofs"][0] | {"threads": 2, "differing": 0})
    (found,) = collect([write("a.json", json.dumps(given))])
    assert (found.is_same, found.is_close) == (False, told == "close")
    assert f" {told} " in collect_report([found])


def test_files_lists_and_links_are_collected_once_each_the_fastest_first(write):
    slow, fast, other = result(), result("iPhone", median=4.0, threads=2, proofs=False), result(title="a0")
    found = collect(
        [
            write("one.json", json.dumps(slow, indent=1)),
            write("two.json", json.dumps([fast, slow])),
            write("links.txt", f"{link(other)}\n{link(fast)}\n"),
            link(slow),
        ]
    )
    assert [(each.network, each.device) for each in found] == [
        ("a0", "Pixel 7"),
        ("s0", "iPhone"),
        ("s0", "Pixel 7"),
    ]
    assert [each.is_same for each in found] == [True, False, True]
    latency = found[2].latency
    assert (latency.min_ms, latency.median_ms, latency.p90_ms) == pytest.approx((6, 7, 10))
    assert json.loads(json.dumps(found[2].to_dict()))["median_ms"] == 7


def test_the_table_says_what_took_how_long(write):
    found = collect([link(result(sustained=True)), link(result("iPad\x1b[31m", median=5, proofs=False))])
    lines = collect_report(found).splitlines()
    assert lines[0].split()[:3] == ["network", "device", "browser"]
    assert "iPad\\x1b[31m" in lines[1]
    assert lines[1].split()[-3:] == ["–", "differs", "3"]
    assert lines[2].split()[-7:] == ["6.00", "7.00", "10.00", "12.50", "9.40", "same", "3"]


def test_the_kernels_of_the_engine_are_told_where_the_result_tells_them(write):
    told = result("new phone")
    told["measurements"][0]["kernels"] = "relaxed_signed"
    found = collect([write("a.json", json.dumps([told, result("old phone", median=9.0)]))])
    assert [each.kernels for each in found] == ["relaxed_signed", None]
    new, old = collect_report(found).splitlines()[1:]
    assert "engine (relaxed_signed)" in new
    assert "(" not in old


@pytest.mark.parametrize("sustained", [False, True])
def test_the_picture_is_drawn(tmp_path, sustained):
    pytest.importorskip("matplotlib", reason="needs the extra train")
    found = collect([link(result(f"device {i}", median=5 + i, sustained=sustained)) for i in range(4)])
    with PIL.Image.open(draw_collected(found, tmp_path / "all.png")) as drawn:
        assert drawn.width == 880
        assert len(set(drawn.convert("L").get_flattened_data())) > 50, "not blank"


def edited(path, value):
    """A result with one value replaced; `path` is like measurements.0.threads."""
    changed = json.loads(json.dumps(result()))
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = changed
    for step in steps:
        place = place[step]
    place[last] = value
    return json.dumps(changed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("words", "it is no JSON"),
        ("", "holds? no measurement"),
        ("[]", "no measurement"),
        ("[" * 100_000, "it is no JSON"),
        ("{}", "format is missing"),
        ('{"format": "mobileone.site/1"}', r'format is not "mobileone\.web/1"|made is missing'),
        (edited("measurements", []), "no measurement"),
        (edited("measurements.0.threads", 0), r"measurements\[0\]\.threads is below 1"),
        (edited("measurements.0.milliseconds", []), r"milliseconds has fewer than 1 entries"),
        (edited("measurements.0.milliseconds.0", float("nan")), r"milliseconds\[0\] is no number"),
        (edited("measurements.0.milliseconds.0", "1"), r"milliseconds\[0\] is no number"),
        (edited("device.name", "x" * 81), "name is longer than 80"),
        (edited("device.tracker", 1), r"device\.tracker is not known"),
        (link(result())[:-8], "the link's result is damaged"),
        (link(result())[:60] + "!", "the link's result is damaged"),
    ],
)
def test_what_is_no_result_is_one_line(write, text, reason):
    with pytest.raises(DataError, match=reason) as refused:
        collect([write("given.json", text)])
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_file_that_is_not_there_and_a_link_that_unfolds_too_far(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"cannot read .*none\.json: No such file"):
        collect([tmp_path / "none.json"])
    with pytest.raises(DataError, match="cannot read"):
        collect([tmp_path])
    monkeypatch.setenv("MOBILEONE_MAX_JSON_BYTES", "100")
    with pytest.raises(DataError, match="too large"):
        collect([link(result())])


def test_a_picture_that_cannot_be_written(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra train")
    (tmp_path / "file").touch()
    with pytest.raises(MobileOneError, match="cannot write"):
        draw_collected(collect([link(result())]), tmp_path / "file" / "all.png")
