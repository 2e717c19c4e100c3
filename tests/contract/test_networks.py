"""What every variant promises, in both forms."""

import copy
import io
import pickle

import pytest
import torch

from mobileone.errors import ConfigError
from mobileone.model.create import create_model, list_models
from mobileone.reparam.fuse import reparameterize
from mobileone.reparam.verify import verify

FORMS = ("train", "inference")
NAMES = list_models()
STATE_KEYS = {  # train form, inference form
    "mobileone_s0": (1323, 88),
    "mobileone_s1": (562, 88),
    "mobileone_s2": (562, 88),
    "mobileone_s3": (562, 88),
    "mobileone_s4": (610, 136),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_builds_runs_fuses_and_keeps_its_key_count(name):
    model = create_model(name).eval()
    fused = reparameterize(model)
    direct = create_model(name, form="inference").eval()
    assert (len(model.state_dict()), len(fused.state_dict())) == STATE_KEYS[name]
    assert list(fused.state_dict()) == list(direct.state_dict())
    direct.load_state_dict(fused.state_dict())
    x = torch.randn(1, 3, 64, 64)
    verify(model, fused, x).require()
    assert torch.equal(direct(x), fused(x))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [32, 33, 47, 64])
def test_any_size_from_32_and_any_channels(tiny, form, size):
    model = create_model(tiny, num_classes=7, in_chans=5, form=form).eval()
    x = torch.randn(2, 5, size, size + 3)
    assert model(x).shape == (2, 7)
    side = lambda n: -(-n // 32)  # noqa: E731
    features = model.forward_features(x)
    assert features.shape == (2, model.num_features, side(size), side(size + 3))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
    assert torch.equal(model.forward_head(features), model(x))


@pytest.mark.parametrize("form", FORMS)
def test_trains(tiny, form):
    model = create_model(tiny, num_classes=3, form=form)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_channels_last(tiny, form, dtype):
    model = create_model(tiny, num_classes=3, form=form).eval()
    x = torch.randn(2, 3, 64, 64)
    wanted = model(x)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert torch.allclose(last(x.to(memory_format=torch.channels_last)), wanted, atol=1e-5)
    half = model.to(dtype)(x.to(dtype))
    assert half.dtype == dtype
    assert (half.float() - wanted).abs().max() < 0.1 * wanted.abs().max()


@pytest.mark.parametrize("form", FORMS)
def test_compiles_without_a_graph_break(tiny, form):
    model = create_model(tiny, num_classes=3, form=form).eval()
    x = torch.randn(2, 3, 32, 32)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(x), model(x), atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # inductor's own import
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_variant_compiles_with_inductor(name, form):
    torch.compiler.reset()  # the variants share a forward; recompiling it ten times is past torch's limit
    model = create_model(name, form=form).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = model(x)
        got = torch.compile(model, fullgraph=True)(x)
    assert (got - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("form", FORMS)
def test_exports(tiny, form):
    model = create_model(tiny, num_classes=3, form=form).eval()
    x = torch.randn(2, 3, 64, 64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert torch.allclose(program.module()(x[:2]), model(x), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_deepcopy_and_pickle_give_an_independent_twin(tiny, form):
    model = create_model(tiny, num_classes=3, form=form).eval()
    x = torch.randn(1, 3, 32, 32)
    wanted = model(x).detach().clone()
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(buffer, weights_only=False)]
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    for twin in twins:
        assert torch.equal(twin(x), wanted)
        assert twin.variant == tiny


@pytest.mark.parametrize("form", FORMS)
def test_features_only_gives_timms_levels(form):
    backbone = create_model("mobileone_s0", features_only=True, form=form, out_indices=(1, 3, -1)).eval()
    maps = backbone(torch.randn(1, 3, 64, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [(48, 16, 16), (256, 4, 4), (1024, 2, 2)]
    assert backbone.feature_info.channels() == [48, 256, 1024]
    assert backbone.feature_info.reduction() == [4, 16, 32]
    assert backbone.feature_info.module_name() == ["stages.0", "stages.2", "stages.3"]


def test_features_are_the_classifiers_own(tiny):
    model = create_model(tiny).eval()
    backbone = create_model(tiny, features_only=True).eval()
    result = backbone.load_state_dict(model.state_dict(), strict=False)
    assert (result.missing_keys, result.unexpected_keys) == ([], ["head.fc.weight", "head.fc.bias"])
    x = torch.randn(1, 3, 64, 64)
    maps = backbone(x)
    assert len(maps) == 5
    assert torch.equal(maps[-1], model.forward_features(x))


def test_levels_behind_the_last_one_are_not_built(tiny):
    assert len(create_model(tiny, features_only=True, out_indices=(0, 2)).stages) == 2
    assert len(create_model(tiny, features_only=True, out_indices=(0,)).stages) == 0


def test_output_stride_keeps_weights_and_resolution(tiny):
    dense = create_model(tiny, features_only=True, output_stride=8).eval()
    dense.load_state_dict(create_model(tiny, features_only=True).state_dict())
    assert [m.shape[-1] for m in dense(torch.randn(1, 3, 64, 64))] == [32, 16, 8, 8, 8]
    assert dense.feature_info.reduction() == [2, 4, 8, 8, 8]
    verify(dense, reparameterize(dense), torch.randn(1, 3, 64, 64)).require()


@pytest.mark.parametrize("indices", [(5,), (), (1, 1), (3, 1), (-6,)])
def test_impossible_out_indices_are_refused(tiny, indices):
    with pytest.raises(ConfigError, match="out_indices"):
        create_model(tiny, features_only=True, out_indices=indices)


def test_reset_classifier(tiny):
    model = create_model(tiny, num_classes=3).eval().double()
    model.reset_classifier(5, class_names=list("abcde"))
    out = model(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    assert (out.shape, out.dtype, model.class_names) == ((1, 5), torch.float64, tuple("abcde"))
    model.reset_classifier(0)
    assert model(torch.zeros(1, 3, 32, 32, dtype=torch.float64)).shape == (1, 32)
    with pytest.raises(ConfigError, match="2 class names given for 3"):
        model.reset_classifier(3, class_names=["a", "b"])


def test_bad_options_are_refused(tiny):
    for options, wanted in [
        ({"form": "fused"}, "form must be"),
        ({"num_classes": -1}, "num_classes"),
        ({"in_chans": 0}, "in_chans|one value a channel"),
        ({"output_stride": 4}, "output_stride"),
        ({"out_indices": (1,)}, "features_only"),
    ]:
        with pytest.raises(ConfigError, match=wanted):
            create_model(tiny, **options)


def test_list_models():
    assert list_models("*s?") == NAMES == [f"mobileone_s{i}" for i in range(5)]
    assert list_models("resnet*") == []
