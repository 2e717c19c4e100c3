"""`mobileone info`."""

import dataclasses
import json

import torch

from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.cli.main import COMMANDS, find_command
from mobileone.model.create import create_model
from mobileone.profiling.cost import network_cost


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


def test_a_dilated_network_costs_what_it_computes(run, tmp_path):
    model = create_model("mobileone_s0", num_classes=2, form="inference", output_stride=16)
    path = save_model(model, tmp_path / "dilated.safetensors")
    card = json.loads(run("info", path, "--json")[1])
    wanted = network_cost(model.variant, num_classes=2, output_stride=16).macs
    assert (card["output_stride"], card["cost"]["inference"]["macs"]) == (16, wanted)
    out = run("info", path)[1]
    assert "stride     16, by dilation" in out
    assert f"{wanted / 1e6:,.2f}" in out


def test_an_unknown_model_is_one_line(run):
    code, out, err = run("info", "mobileone_s9")
    assert (code, out) == (1, "")
    assert err.startswith("mobileone: error: no model mobileone_s9")
    assert err.count("\n") == 1


def test_several_weights_in_a_file_are_named_and_chosen(run, two_weights):
    note = f"mobileone: note: {two_weights}: took the weights under ema_state_dict; there are others under "
    code, out, err = run("info", two_weights)
    assert (code, "weights    ema_state_dict (others: state_dict)" in out) == (0, True)
    assert err == f"{note}state_dict; --weights-key chooses\n"
    code, out, err = run("info", two_weights, "--weights-key", "state_dict", "--json")
    assert (code, json.loads(out)["weights_key"], err) == (0, "state_dict", "")
    code, _, err = run("info", two_weights, "--weights-key", "swa")
    assert (code, err.count("\n")) == (1, 1)
    assert "has no weights under --weights-key 'swa'; it has 2 (state_dict, ema_state_dict)" in err


def test_tensors_beside_the_network_are_listed(run, two_weights, tmp_path):
    state = torch.load(two_weights, weights_only=True)["state_dict"]
    state = {f"model.{name}": value for name, value in state.items()} | {"loss.weight": torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "lightning.ckpt")
    code, out, err = run("info", tmp_path / "lightning.ckpt")
    assert (code, "left out   1 (loss.weight)" in out) == (0, True)
    assert err.startswith("mobileone: note: ")


def names_of(command):
    return {field.name for field in dataclasses.fields(command)}


def class_of(line):
    return line.splitlines()[1].split()[-1]


def test_every_command_that_takes_a_model_takes_the_key(run, two_weights, photos, tmp_path):
    photo = photos / "val" / "cat" / "0.jpg"
    raw = ("--weights-key", "state_dict")
    assert class_of(run("predict", two_weights, photo)[1]) == "0"
    assert class_of(run("predict", two_weights, photo, *raw)[1]) == "1"
    for command in (
        ["convert", two_weights, "-o", tmp_path / "c.safetensors", *raw],
        ["export", two_weights, "-o", tmp_path / "e.pt2", *raw],
    ):
        code, _, err = run(*command)
        assert (code, "note" in err) == (0, False), err
        assert class_of(run("predict", command[3], photo)[1]) == "1"
    takes_models = [name for name in COMMANDS if {"model", "models", "init"} & names_of(find_command(name))]
    assert len(takes_models) >= 11
    for name in takes_models:
        assert "--weights-key" in run(name, "--help")[1]
    code, _, err = run("predict", tmp_path / "e.pt2", photo, *raw)
    assert (code, "is an exported file, so --weights-key does not apply to it" in err) == (1, True)
    command = ["train", "--data", photos, "--recipe", "finetune", "--run-dir", tmp_path / "run", "--dry-run"]
    settings = ["--set", "batch_size=4", "num_workers=0", "input_size=32", "epochs=1", "--device", "cpu"]
    code, _, err = run(*command, *settings, "--init", two_weights, *raw)
    assert (code, "took the weights" in err) == (0, False), err
