"""Which of several weights in a file are taken, and what is said of it."""

import warnings

import pytest
import torch
from safetensors.torch import save_file

from mobileone.checkpoint.convert import convert
from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.recognition import expected_shapes
from mobileone.checkpoint.selection import select
from mobileone.errors import CheckpointError, MobileOneWarning
from mobileone.variants import Variant

TINY = Variant("tiny", (8, 8, 8, 8), num_conv_branches=1, depths=(1, 1, 1, 1))


class Shaped:
    def __init__(self, shape):
        self.shape = shape


def table(prefix="", *, without=""):
    shapes = expected_shapes(TINY, form="inference", num_classes=2)
    return {
        f"{prefix}{name}": Shaped(shape)
        for name, shape in shapes.items()
        if not without or without not in name
    }


def chosen(*keys, weights_key=None):
    return select({key: table() for key in keys}, weights_key=weights_key, source="x.pt")


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        (("state_dict", "ema_state_dict"), "ema_state_dict"),
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("model", "ema"), "ema"),
        (("model_state_dict", "averaged_model"), "averaged_model"),
        (("net", "swa_net"), "swa_net"),
        (("model", "modelEMA.module"), "modelEMA.module"),
        (("weights", "EMA"), "EMA"),
        (("schema", "state_dict"), "state_dict"),  # no average, in spite of its letters
        (("teacher", "model"), "model"),
        (("optimizer_copy", "state_dict"), "state_dict"),
    ],
)
def test_averaged_weights_go_before_raw_ones_and_usual_names_before_others(keys, first):
    for order in (keys, keys[::-1]):
        selection = chosen(*order)
        assert selection.key == selection.table == first
        assert set(selection.others) == set(keys) - {first}


def test_within_one_table_names_tell_the_networks_apart():
    selection = select(
        {"state_dict": table("model.") | table("model_ema.module.") | {"model_ema.decay": Shaped(())}},
        source="x.ckpt",
    )
    assert (selection.table, selection.key) == ("state_dict", "state_dict.model_ema.module")
    assert selection.others == ("state_dict.model",)
    # An AveragedModel's counter tells too.
    selection = select({"": table("a.") | table("b.module.") | {"b.n_averaged": Shaped(())}}, source="x.ckpt")
    assert selection.key == "b.module"


def test_mmengine_exchanges_averaged_and_raw_weights():
    raw = table("module.") | {"steps": Shaped(())}
    selection = select({"ema_state_dict": raw, "state_dict": table()}, source="x.pth")
    assert (selection.key, selection.others) == ("state_dict", ("ema_state_dict.module",))


def test_several_that_nothing_tells_apart_are_refused():
    with pytest.raises(CheckpointError, match=r"x\.pt holds several networks: .*student.*weights_key='"):
        chosen("student", "pupil")
    assert chosen("student", "pupil", weights_key="pupil").key == "pupil"


def test_a_key_or_a_part_of_it_chooses():
    keys = ("state_dict", "state_dict_ema.module")
    assert chosen(*keys, weights_key="state_dict").key == "state_dict"
    assert chosen(*keys, weights_key="state_dict_ema").key == "state_dict_ema.module"
    with pytest.raises(
        CheckpointError, match=r"no weights under weights_key='ema'; it has 2 \(state_dict, state_dict"
    ):
        chosen(*keys, weights_key="ema")
    with pytest.raises(CheckpointError, match="holds several networks"):
        chosen("a.module", "b.module", weights_key="module")


def test_what_is_no_whole_network_is_passed_over_and_named():
    tables = {"ema": table(without="bias"), "state_dict": table()}
    selection = select(tables, source="x.pt")
    assert (selection.key, selection.unfit) == ("state_dict", ("ema",))
    with pytest.raises(CheckpointError, match="misses tensors"):
        select(tables, weights_key="ema", source="x.pt")


def test_the_same_tensors_twice_are_one(tmp_path, fused):
    state = fused.state_dict()
    torch.save({"state_dict": state, "model": dict(state)}, tmp_path / "m.pt")
    card = describe(tmp_path / "m.pt")
    assert (card.weights_key, card.other_weights) == ("state_dict", ())


@pytest.fixture
def two(tmp_path, fused):
    """A file with raw weights and averaged ones, which differ."""
    averaged = fused.state_dict()
    raw = {name: value + 1 for name, value in averaged.items()}
    path = tmp_path / "two.pt"
    torch.save({"state_dict": raw, "ema_state_dict": averaged}, path)
    return path, raw, averaged


def test_what_was_taken_is_said(two):
    path, raw, averaged = two
    said = r"two\.pt: took the weights under ema_state_dict; there are others under state_dict; weights_key"
    with pytest.warns(MobileOneWarning, match=said):
        model = load_model(path)
    assert torch.equal(model.head.fc.bias, averaged["head.fc.bias"])
    with pytest.warns(MobileOneWarning, match=said):
        card = describe(path)
    assert (card.weights_key, card.other_weights) == ("ema_state_dict", ("state_dict",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who has chosen need not be told
        model = load_model(path, weights_key="state_dict")
        assert describe(path, weights_key="state_dict").weights_key == "state_dict"
    assert torch.equal(model.head.fc.bias, raw["head.fc.bias"])


def test_conversion_chooses_too(two, tmp_path):
    path, raw, _ = two
    converted = convert(path, tmp_path / "c.safetensors", to="timm", weights_key="state_dict")
    assert torch.equal(load_model(converted).head.fc.bias, raw["head.fc.bias"])


def test_two_networks_in_safetensors(tmp_path, fused):
    state = fused.state_dict()
    both = {f"net.{name}": value + 1 for name, value in state.items()}
    both |= {f"net_ema.{name}": value.clone() for name, value in state.items()}
    save_file(both, tmp_path / "both.safetensors")
    with pytest.warns(MobileOneWarning, match="took the weights under net_ema; there are others under net;"):
        model = load_model(tmp_path / "both.safetensors")
    assert torch.equal(model.head.fc.bias, state["head.fc.bias"])


def test_fresh_weights_have_no_key():
    with pytest.raises(CheckpointError, match="fresh weights, and nothing to choose by weights_key='ema'"):
        load_model("mobileone_s0", weights_key="ema")
    assert describe("mobileone_s0").weights_key is None


def test_a_file_made_of_stems_is_refused_soon():
    stems = {f"a{n}.stem.reparam_conv.weight": Shaped((8, 3, 3, 3)) for n in range(100)}
    with pytest.raises(CheckpointError, match=r"cannot read x\.pt: more than 64 networks"):
        select({"": stems}, source="x.pt")
