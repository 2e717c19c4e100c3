"""How projects spell the names of tensors."""

import pytest

from mobileone.checkpoint.layouts import LAYOUTS, Place, detect, from_timm, to_timm
from mobileone.checkpoint.recognition import expected_shapes
from mobileone.errors import CheckpointError
from mobileone.variants import VARIANTS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_go_there_and_back(layout):
    for form in ("train", "inference"):
        ours = expected_shapes(VARIANTS["mobileone_s4"], form=form)
        theirs = from_timm(ours, layout)
        assert len(theirs) == len(ours)
        assert detect(theirs) == layout
        assert to_timm(theirs, layout) == ours


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("apple", ["stage3.10.se.reduce.weight", "stage4.1.rbr_conv.0.bn.running_var", "linear.bias"]),
        (
            "mmpretrain",
            [
                "backbone.stage3.10.se.conv1.conv.weight",
                "backbone.stage4.1.branch_conv_list.0.norm.running_var",
                "head.fc.bias",
            ],
        ),
        ("reference", ["p4.10.se.se.1.weight", "p5.1.conv1.0.norm.running_var", "fc.2.bias"]),
        ("timm", ["stages.2.10.attn.fc1.weight", "stages.3.1.conv_kxk.0.bn.running_var", "head.fc.bias"]),
    ],
)
def test_spellings(layout, names):
    ours = ["stages.2.10.attn.fc1.weight", "stages.3.1.conv_kxk.0.bn.running_var", "head.fc.bias"]
    assert list(from_timm(dict.fromkeys(ours), layout)) == names


def test_left_over_names_are_listed():
    state = dict.fromkeys(["stage0.reparam_conv.weight", *(f"neck.{index}" for index in range(9))])
    with pytest.raises(CheckpointError, match=r"9 \(neck.0, neck.1, neck.2, neck.3 and 5 more\)"):
        to_timm(state, "apple")
    with pytest.raises(CheckpointError, match="left over that timm names do not have"):
        from_timm({"stages.4.0.identity.weight": 1}, "apple")


def test_the_layout_that_explains_most_names_is_taken():
    assert (
        detect(["stem.reparam_conv.weight", "head.fc.weight", "stage0.reparam_conv.weight", "stage0.x"])
        == "timm"
    )
    with pytest.raises(
        CheckpointError, match=r"tensors are no MobileOne's; names found: 1 \(head.fc.weight\)"
    ):
        detect(["head.fc.weight"])  # every network has one


@pytest.mark.parametrize(
    "name",
    ["stages.4.0.identity.weight", "stages.0.identity.weight", "stem.reparam_conv.momentum", "stem", ""],
)
def test_what_is_no_name_of_a_layout_has_no_place(name):
    assert LAYOUTS["timm"].parse(name) is None


def test_a_place_is_the_same_in_every_layout():
    place = Place(stage=2, unit=10, part="norm", branch=3, parameter="bias")
    for layout in LAYOUTS.values():
        assert layout.parse(layout.render(place)) == place
