"""What every variant promises, in both forms."""

import copy
import io
import pickle

import pytest
import torch

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
