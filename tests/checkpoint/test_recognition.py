import pytest
import torch

from mobileone.checkpoint.config import ModelConfig
from mobileone.checkpoint.layouts import LAYOUTS, detect, from_timm, to_timm
from mobileone.checkpoint.recognition import expected_shapes, infer, num_parameters, recognise
from mobileone.errors import CheckpointError
from mobileone.model.create import create_model
from mobileone.variants import VARIANTS, Variant


@pytest.mark.parametrize("form", ["train", "inference"])
@pytest.mark.parametrize("name", VARIANTS)
def test_expected_shapes_are_the_state_dict(name, form):
    with torch.device("meta"):
        model = create_model(name, num_classes=7, in_chans=4, form="train")
    if form == "train":
        expected = expected_shapes(VARIANTS[name], form=form, num_classes=7, in_chans=4)
        assert list(expected.items()) == [(k, tuple(v.shape)) for k, v in model.state_dict().items()]
        assert num_parameters(expected) == sum(p.numel() for p in model.parameters())
    else:
        assert len(expected_shapes(VARIANTS[name], form=form)) == (136 if name == "mobileone_s4" else 88)


def test_expected_shapes_in_inference_form(tiny):
    model = create_model(tiny, num_classes=0, form="inference")
    expected = expected_shapes(tiny, form="inference", num_classes=0)
    assert list(expected.items()) == [(k, tuple(v.shape)) for k, v in model.state_dict().items()]


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


class Shaped:
    def __init__(self, shape):
        self.shape = shape


def shaped(variant, layout="timm", **options):
    shapes = expected_shapes(variant, **options)
    return {name: Shaped(shape) for name, shape in from_timm(shapes, layout).items()}


@pytest.mark.parametrize("form", ["train", "inference"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_recognised_in_every_layout_and_form(name, layout, form):
    tensors = shaped(VARIANTS[name], layout, form=form, num_classes=3, in_chans=1)
    found = recognise(tensors)
    assert (found.layout, found.variant, found.form) == (layout, VARIANTS[name], form)
    assert (found.num_classes, found.in_chans) == (3, 1)
    assert sorted(found.names.values()) == sorted(tensors)


def test_wrappers_profiler_buffers_and_missing_counters(tiny):
    tensors = shaped(tiny, form="train")
    without = {k: v for k, v in tensors.items() if "num_batches_tracked" not in k}
    wrapped = {f"module._orig_mod.{name}": value for name, value in without.items()}
    wrapped["module._orig_mod.stem.total_ops"] = Shaped((1,))
    found = recognise(wrapped)
    assert found.dropped == ("stem.total_ops",)
    assert found.names["head.fc.bias"] == "module._orig_mod.head.fc.bias"
    assert found.variant.widths == tiny.widths


def test_a_variant_of_ones_own_is_custom_unless_the_config_names_it(tiny):
    shapes = expected_shapes(tiny, form="train", num_classes=0)
    assert infer(shapes).variant == Variant(**{**tiny.to_dict(), "name": "custom", "stem_width": 16})
    assert infer(shapes).num_classes == 0
    assert infer(shapes, config=ModelConfig(variant=tiny)).variant == tiny
    # Fused, the tensors no longer tell the number of branches; the config does.
    fused = expected_shapes(tiny, form="inference")
    assert infer(fused).variant.num_conv_branches == 1
    assert infer(fused, config=ModelConfig(variant=tiny)).variant.num_conv_branches == 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ModelConfig(variant=VARIANTS["mobileone_s1"]), "its config says mobileone_s1"),
        (ModelConfig(form="train"), "form=train, its tensors inference"),
        (ModelConfig(num_classes=9), "num_classes=9, its tensors 1000"),
        (ModelConfig(in_chans=1), "in_chans=1, its tensors 3"),
    ],
)
def test_a_config_that_contradicts_the_tensors(tiny, config, expected):
    with pytest.raises(CheckpointError, match=expected):
        infer(expected_shapes(tiny, form="inference"), config=config, source="x.pt")


def test_uneven_branches_are_missing_tensors(tiny):
    shapes = expected_shapes(tiny, form="train")
    for name in [name for name in shapes if name.startswith("stages.2.3.conv_kxk.1")]:
        del shapes[name]
    with pytest.raises(CheckpointError, match="misses tensors"):
        infer(shapes)


def test_absurd_numbers_of_units_and_branches_are_refused(tiny):
    shapes = expected_shapes(tiny, form="train")
    with pytest.raises(CheckpointError, match="needs units"):
        infer(shapes | {"stages.0.9999.conv_kxk.0.conv.weight": (16, 16, 1, 1)})
    with pytest.raises(CheckpointError, match="branches a unit"):
        infer(shapes | {"stages.0.0.conv_kxk.9999.conv.weight": (16, 1, 3, 3)})
