import pytest
import torch

from mobileone.checkpoint.config import ModelConfig
from mobileone.checkpoint.layouts import LAYOUTS, from_timm
from mobileone.checkpoint.recognition import Root, expected_shapes, infer, num_parameters, recognise, roots
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
    assert found.beside == ()
    assert found.names["head.fc.bias"] == "module._orig_mod.head.fc.bias"
    assert found.variant.widths == tiny.widths


def test_wrappers_within_names_and_any_prefix(tiny):
    tensors = shaped(tiny, form="train")
    wrapped = {
        "net.encoder." + name.replace(".conv.", "._checkpoint_wrapped_module.conv.", 1): value
        for name, value in tensors.items()
    }
    wrapped |= {"criterion.weight": Shaped((3,)), "net.other.bias": Shaped((3,)), "n_averaged": Shaped(())}
    found = recognise(wrapped)
    assert sorted(found.names) == sorted(tensors)
    assert found.beside == ("criterion.weight", "net.other.bias", "n_averaged")
    assert roots(wrapped) == [Root("net.encoder.", "timm")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_stands_under_a_prefix(tiny, layout):
    tensors = {f"model.{name}": value for name, value in shaped(tiny, layout, form="train").items()}
    assert roots(tensors) == [Root("model.", layout)]
    assert recognise(tensors).layout == layout


def test_a_trunk_is_whole_without_its_head(tiny):
    tensors = {f"encoder.{k}": v for k, v in shaped(tiny, form="train").items() if not k.startswith("head")}
    found = recognise(tensors | {"classifier.weight": Shaped((5, 32))})
    assert (found.num_classes, found.beside) == (0, ("classifier.weight",))


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


def test_a_header_alone_cannot_ask_for_a_value_per_channel(tiny):
    # Tensors of no element type known here have a shape, and take no bytes of the file.
    with pytest.raises(CheckpointError, match="65537 input channels, at most 65536"):
        infer(expected_shapes(tiny, form="inference", in_chans=65_537))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("stages.1.0.reparam_conv.bias"), "misses tensors: 1 (stages.1.0.reparam_conv.bias)"),
        (lambda s: s.update({"stages.1.0.reparam_conv.running_var": torch.ones(16)}), "left over"),
        (
            lambda s: s.update({"stem.more.weight": torch.ones(2)}),
            "left over that timm names do not have: 1 (stem.more.weight)",
        ),
        (lambda s: s.update({"head.fc.1.weight": torch.ones(2)}), "left over"),
        (lambda s: s.update({"head.fc.bias": torch.ones(6)}), "head.fc.bias must have shape (5,)"),
        (
            lambda s: s.update({"stages.3.0.reparam_conv.weight": torch.ones(16, 1, 5, 5)}),
            "got (16, 1, 5, 5)",
        ),
        (lambda s: s.pop("stem.reparam_conv.weight"), "stem.reparam_conv.weight"),
        (lambda s: s.update({"stages.9.0.reparam_conv.bias": torch.ones(1)}), "left over"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("stages.2")], "stage 2 needs units"),
        (
            lambda s: s.update({"stages.0.0.conv_kxk.0.conv.weight": torch.ones(16, 1, 3, 3)}),
            "some units are in",
        ),
        (lambda s: s.update({"stem.reparam_conv.bias": torch.ones(16, dtype=torch.int8)}), "floating point"),
        (lambda s: s.clear(), "no weights"),
    ],
)
def test_tensors_that_are_no_network_are_named(tmp_path, fused, saved_bytes, refused, change, expected):
    state = dict(fused.state_dict())
    change(state)
    path = tmp_path / "wrong.pth"
    path.write_bytes(saved_bytes(state))
    assert expected in refused(path, by_info="floating" not in expected)


def test_another_network_is_refused(tmp_path, saved_bytes, refused):
    path = tmp_path / "resnet.pth"
    path.write_bytes(saved_bytes({"conv1.weight": torch.ones(64, 3, 7, 7), "fc.weight": torch.ones(10, 512)}))
    assert "no MobileOne's" in refused(path)
