"""`mobileone weights`."""

import json

from mobileone.checkpoint.published import PUBLISHED


def test_every_published_checkpoint_is_listed_with_its_licence(run):
    code, out, _ = run("weights")
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("mobileone_")}
    assert (code, lines.keys()) == (0, PUBLISHED.keys())
    assert all(
        PUBLISHED[name].licence in line and PUBLISHED[name].source in line for name, line in lines.items()
    )
    assert "71.40" in lines["mobileone_s0.apple_in1k"]
    assert "–" in lines["mobileone_s0.apple"].split(), "a top-5 that nobody states"


def test_json(run):
    entries = json.loads(run("weights", "--json")[1])
    assert [entry["name"] for entry in entries] == list(PUBLISHED)
    assert entries[0]["input_spec"]["size"] == 224
