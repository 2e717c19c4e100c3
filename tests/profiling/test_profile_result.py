"""A profile as data: rows by type, layer and stage."""

import json
from dataclasses import replace

import pytest

from mobileone.errors import ConfigError
from mobileone.profiling.operator import Operand, Operator

from .conftest import profile_of


def test_shares_add_up():
    profile = profile_of("mobileone_s1", form="train", size=64)
    for by in ("operator", "layer", "stage"):
        rows = profile.rows(by)
        assert sum(row.share or 0 for row in rows) == pytest.approx(1)
        assert sum(row.macs for row in rows) == profile.macs
        assert sum(row.num_operators for row in rows) == len(profile.operators)


def test_types_come_by_time_and_layers_as_they_ran():
    profile = profile_of("mobileone_s0")
    times = [row.time_ms or 0 for row in profile.rows()]
    assert times == sorted(times, reverse=True)
    assert [row.name for row in profile.rows("layer")][:2] == ["stem.reparam_conv", "stem.act"]
    with pytest.raises(ConfigError, match="by must be one of operator, layer, stage, got 'module'"):
        profile.rows("module")


def test_a_row_adds_up_by_hand():
    conv = Operator(
        "c", "Conv", "body.0", (Operand((1, 2, 4, 4)), Operand((3, 2, 1, 1))), (Operand((1, 3, 4, 4)),), 0.5
    )
    sorcery = Operator("s", "Sorcery", "body.1", (Operand((1, 3, 4, 4)),), (Operand((1, 3, 4, 4)),), 1.5)
    shape = Operator("v", "Shape", "body.1", (Operand((1, 3, 4, 4)),), (Operand((4,), "int64"),))
    profile = replace(
        profile_of("mobileone_s0", size=32), operators=(conv, sorcery, shape), latencies_ms=(3, 1, 2)
    )
    body = {row.name: row for row in profile.rows("layer")}
    assert (body["body.0"].macs, body["body.0"].count, body["body.0"].share) == (96, 192, 0.25)
    assert body["body.0"].gflops == 2 * 96 / 0.5 / 1e6
    assert (body["body.1"].kinds, body["body.1"].count) == (("Sorcery", "Shape"), None)
    assert (profile.macs, profile.count, profile.time_ms, profile.latency_ms) == (96, 192, 2.0, 2)
    assert profile.uncounted == ("Shape", "Sorcery")
    assert next(row for row in profile.rows() if row.name == "Shape").time_ms is None
    total = profile.total()
    assert (total.num_operators, total.bytes_read) == (3, 4 * (32 + 6 + 48))


def test_what_is_printed_is_one_line():
    assert (
        str(profile_of("mobileone_s0"))
        == "mobileone_s0:inference: 2,078,504 parameters, 275.11 MMAC, 2 ms a run"
    )


def test_plain_values_are_json_and_hold_everything():
    profile = profile_of("mobileone_s0", size=64)
    written = json.loads(json.dumps(profile.to_dict(), allow_nan=False))
    assert written["schema"] == "mobileone.profile/1"
    assert len(written["layers"]) == len(profile.rows("layer"))
    assert written["totals"]["macs"] == profile.macs
    assert written["machine"]["peak_gflops"] == 100.0
    assert profile_of("mobileone_s0", size=64, machine=None).to_dict()["machine"] is None
