"""`mobileone info`."""

import json

from mobileone.checkpoint.load import load_model


def test_info_prints_the_published_counts(run):
    code, out, _ = run("info", "mobileone_s0")
    assert code == 0
    for figure in ("2,078,504", "5,293,272", "275.11", "0.550222"):
        assert figure in out


def test_info_reads_a_file(run, model_file):
    code, out, _ = run("info", model_file, "--json")
    card = json.loads(out)
    assert (code, card["num_classes"], card["form"], card["input_spec"]["size"]) == (0, 2, "train", 32)
    model = load_model(model_file)
    assert card["cost"]["train"]["params"] == sum(p.numel() for p in model.parameters())


def test_the_cost_is_for_the_size_that_was_asked_for(run, model_file):
    costs = [
        json.loads(run("info", model_file, "--json", *size)[1])["cost"] for size in ((), ("--input-size", 64))
    ]
    assert [cost["input_size"] for cost in costs] == [32, 64]
    assert costs[1]["inference"]["macs"] > 3 * costs[0]["inference"]["macs"]


def test_an_unknown_model_is_one_line(run):
    code, out, err = run("info", "mobileone_s9")
    assert (code, out) == (1, "")
    assert err.startswith("mobileone: error: no model mobileone_s9")
    assert err.count("\n") == 1
