"""A unit as one convolution is the same function as its branches, gradients and statistics included."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

import mobileone
from mobileone.errors import ConfigError
from mobileone.functional.online import kernel_table
from mobileone.functional.online.kernel_table import online_pays
from mobileone.functional.window import Window
from mobileone.model.block import MobileOneBlock
from mobileone.model.branch_mode import set_branch_mode
from mobileone.variants import BlockSpec


def build(spec, *, dtype=torch.float64, seed=0):
    """A block in training mode whose BatchNorms have gains, shifts and histories of their own."""
    torch.manual_seed(seed)
    block = MobileOneBlock(spec).to(dtype)
    for norm in norms(block):
        if norm.affine:
            nn.init.normal_(norm.weight, 0.5, 0.5)
            nn.init.normal_(norm.bias, std=0.5)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return block


def norms(block):
    return [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]


def run(block, mode, x):
    """Output, gradients (input first) and buffers after one step of a copy of the block."""
    twin = set_branch_mode(copy.deepcopy(block), mode)
    x = x.clone().requires_grad_()
    out = twin(x)
    torch.manual_seed(9)
    out.backward(torch.randn(out.shape).to(out.dtype))  # values in the order of indices, not of memory
    return (
        out.detach(),
        {"x": x.grad, **{n: p.grad for n, p in twin.named_parameters()}},
        dict(twin.named_buffers()),
    )


def relative(got, wanted):
    return ((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)).item()


def assert_same(block, x, *, tolerance=1e-9):
    branches, online = run(block, "branches", x), run(block, "online", x)
    assert relative(online[0], branches[0]) < tolerance
    for ours, theirs in zip(online[1:], branches[1:], strict=True):
        assert ours.keys() == theirs.keys()
        for name, wanted in theirs.items():
            if wanted is None:
                assert ours[name] is None, name
            elif not wanted.is_floating_point():
                assert torch.equal(ours[name], wanted), name
            else:
                scale = max(wanted.abs().max().item(), 1e-6)
                assert (ours[name] - wanted).abs().max().item() < tolerance * scale, name


@st.composite
def specs(draw):
    kind = draw(st.sampled_from(["depthwise", "pointwise", "stem", "grouped", "wide"]))
    k = draw(st.integers(1, 4))
    stride = draw(st.integers(1, 2))
    if kind == "depthwise":
        return BlockSpec(20, 20, 3, stride, groups=20, num_conv_branches=k)
    if kind == "pointwise":
        return BlockSpec(
            16, draw(st.sampled_from([16, 24])), 1, num_conv_branches=k, use_se=draw(st.booleans())
        )
    if kind == "stem":
        return BlockSpec(3, 8, 3, 2, num_conv_branches=k, use_identity=False)
    if kind == "grouped":
        kernel = draw(st.sampled_from([1, 3]))
        return BlockSpec(8, 8, kernel, stride if kernel == 3 else 1, groups=4, num_conv_branches=k)
    kernel = draw(st.sampled_from([(1, 5), (5, 5), (5, 3), (3, 1), (7, 3)]))
    dilation = draw(st.sampled_from([1, (1, 2), (2, 1)]))
    channels = draw(st.sampled_from([6, 17]))
    stride = draw(st.integers(1, 3))
    return BlockSpec(
        channels, channels, kernel, stride, dilation=dilation, groups=channels, num_conv_branches=k
    )


@settings(deadline=None, max_examples=60)
@given(spec=specs(), batch=st.integers(1, 4), height=st.integers(1, 8), width=st.integers(1, 8))
def test_output_gradients_and_statistics_are_those_of_the_branches(spec, batch, height, width):
    assume(Window.of(spec).count((batch, spec.in_channels, height, width)) > 1)
    block = build(spec)
    x = torch.randn(batch, spec.in_channels, height, width, dtype=torch.float64) + 0.5
    # Of few values BatchNorm keeps but a sign, and any rounding is blown up: up to 1 / √ε each.
    few = Window.of(spec).count((batch, spec.in_channels, height, width)) < 40
    assert_same(block, x, tolerance=1e-5 if few else 1e-9)


SPECS = [
    BlockSpec(8, 8, 3, groups=8, num_conv_branches=2),
    BlockSpec(8, 8, 3, 2, groups=8, num_conv_branches=1),
    BlockSpec(8, 8, 1, num_conv_branches=3),
    BlockSpec(8, 8, 1, num_conv_branches=1),
    BlockSpec(8, 8, 1, groups=2, num_conv_branches=1),
    BlockSpec(3, 8, 3, 2, use_identity=False),
]


@pytest.mark.parametrize("spec", SPECS)
class TestBatchNormsOptions:
    x = torch.randn(3, 8, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def test_cumulative_average(self, spec):
        block = build(spec)
        for norm in norms(block):
            norm.momentum, norm.num_batches_tracked[...] = None, 3
        assert_same(block, self.x[:, : spec.in_channels])

    def test_momentum_and_epsilon_of_each_branch(self, spec):
        block = build(spec)
        for i, norm in enumerate(norms(block)):
            norm.momentum, norm.eps = 0.1 * (i + 1), 10.0 ** (-i - 1)
        assert_same(block, self.x[:, : spec.in_channels])

    def test_without_gain_and_shift(self, spec):
        block = build(spec)
        for name, module in list(block.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                plain = nn.BatchNorm2d(module.num_features, affine=False).double()
                block.get_submodule(name.rpartition(".")[0]).__setattr__(name.rpartition(".")[2], plain)
        assert_same(block, self.x[:, : spec.in_channels])

    @pytest.mark.parametrize("which", ["first", "last", "all"])
    def test_frozen(self, spec, which):
        block = build(spec)
        chosen = {"first": norms(block)[:1], "last": norms(block)[-1:], "all": norms(block)}[which]
        for norm in chosen:
            norm.eval()
        assert_same(block, self.x[:, : spec.in_channels])

    def test_frozen_with_gains_and_shifts(self, spec):
        block = build(spec)
        for norm in norms(block):
            norm.eval().requires_grad_(False)
        assert_same(block, self.x[:, : spec.in_channels])

    def test_an_activation_in_place(self, spec):
        block = build(spec)
        block.act = nn.ReLU6(inplace=True)
        assert_same(block, self.x[:, : spec.in_channels])

    def test_an_empty_batch(self, spec):
        block = build(spec)
        found = [run(block, mode, self.x[:0, : spec.in_channels]) for mode in ("branches", "online")]
        assert found[0][0].shape == found[1][0].shape
        for wanted, got in zip(found[0][1:], found[1][1:], strict=True):
            assert all(torch.equal(got[name], value) for name, value in wanted.items() if value is not None)

    def test_without_running_statistics(self, spec):
        block = build(spec)
        for norm in norms(block):
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
            norm.track_running_stats = False
        assert_same(block, self.x[:, : spec.in_channels])
        for norm in norms(block):  # in eval such a BatchNorm still takes the batch's statistics
            norm.eval()
        assert_same(block, self.x[:, : spec.in_channels])

    def test_frozen_parameters_get_no_gradient(self, spec):
        block = build(spec)
        for parameter in block.conv_kxk.parameters():
            parameter.requires_grad_(False)
        assert_same(block, self.x[:, : spec.in_channels])

    def test_one_value_a_channel_is_refused_as_batch_norm_refuses_it(self, spec):
        block, x = build(spec), self.x[:1, : spec.in_channels, :1, :1]
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            set_branch_mode(block, "branches")(x)
        with pytest.raises(ConfigError, match="more than 1 value per channel"):
            set_branch_mode(block, "online")(x)
        assert_same(block, self.x[:2, : spec.in_channels, :1, :1], tolerance=1e-5)

    def test_a_constant_channel(self, spec):
        x = self.x[:, : spec.in_channels].clone()
        x[:, 0] = 3.0
        assert_same(build(spec), x, tolerance=1e-6)

    def test_a_huge_mean_in_float32_is_no_worse_than_in_the_branches(self, spec):
        x = self.x[:, : spec.in_channels].clone()
        x[:, 0] = 1e4 + x[:, 0] * 0.1
        exact = run(build(spec), "branches", x.float().double())
        single = build(spec).float()
        theirs, ours = (run(single, mode, x.float()) for mode in ("branches", "online"))
        error = lambda result: (result[0] - exact[0]).abs().max().item()  # noqa: E731
        assert error(ours) < 4 * error(theirs) + 1e-4
        for which in (1, 2):  # gradients, buffers
            for name, wanted in exact[which].items():
                size = wanted.double().norm().item()
                apart = lambda result: (result[which][name].double() - wanted).norm().item()  # noqa: E731, B023
                assert apart(ours) < 4 * apart(theirs) + 1e-3 * size + 1e-5, name

    def test_a_second_backward_pass_through_the_same_graph(self, spec):
        block, x = (
            set_branch_mode(build(spec), "online"),
            self.x[:, : spec.in_channels].clone().requires_grad_(),
        )
        out = block(x).square().sum()
        leaves = [x, *block.parameters()]
        once, again = (torch.autograd.grad(out, leaves, retain_graph=keep) for keep in (True, False))
        for a, b in zip(once, again, strict=True):
            assert torch.equal(a, b)

    @pytest.mark.parametrize("kernels", [True, False])
    @pytest.mark.parametrize("constant", [True, False])
    def test_second_derivatives_are_those_of_the_branches_or_refused(
        self, spec, constant, kernels, monkeypatch
    ):
        """By a sum, whose gradient is a constant, too: a gradient penalty does that."""
        if not kernels:
            monkeypatch.setattr(kernel_table, "has_kernels", lambda *_: False)
        block, found = build(spec), []
        for mode in ("branches", "online"):
            twin = set_branch_mode(copy.deepcopy(block), mode)
            x = self.x[:, : spec.in_channels].clone().requires_grad_()
            out = twin(x)
            (grad,) = torch.autograd.grad(out.sum() if constant else out.square().sum(), x, create_graph=True)
            try:
                grad.square().sum().backward()
            except RuntimeError as error:
                assert mode == "online"
                assert "once_differentiable" in str(error)  # noqa: PT017
                return
            found.append([p.grad for p in twin.parameters()])
        for ours, theirs in zip(found[1], found[0], strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-8)

    def test_channels_last_and_not(self, spec):
        block, x = build(spec), self.x[:, : spec.in_channels]
        a = run(block, "online", x)
        b = run(
            block.to(memory_format=torch.channels_last),
            "online",
            x.contiguous(memory_format=torch.channels_last),
        )
        assert torch.allclose(a[0], b[0], rtol=1e-12)
        assert torch.allclose(a[1]["x"], b[1]["x"], rtol=1e-10, atol=1e-12)

    def test_without_the_compiled_kernels(self, spec, monkeypatch):
        monkeypatch.setattr(kernel_table, "has_kernels", lambda *_: False)
        assert_same(build(spec), self.x[:, : spec.in_channels])

    def test_gradients_add_up_over_steps(self, spec):
        block, x = set_branch_mode(build(spec), "online"), self.x[:, : spec.in_channels]
        for _ in range(2):
            block(x).square().sum().backward()
        twice = [p.grad.clone() for p in block.parameters()]
        block.zero_grad()
        block(x).square().sum().backward()
        for total, once in zip(twice, block.parameters(), strict=True):
            assert torch.allclose(total, 2 * once.grad, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("reentrant", [True, False])
    def test_activation_checkpointing(self, spec, reentrant):
        x = self.x[:, : spec.in_channels].clone().requires_grad_()
        grads = []
        for through in (False, True):
            block = set_branch_mode(build(spec), "online")
            out = checkpoint(block, x, use_reentrant=reentrant) if through else block(x)
            grads.append(
                torch.autograd.grad(out.square().sum(), [x, *block.parameters()]) if not reentrant else None
            )
            if reentrant:
                x.grad = None
                out.square().sum().backward()
                grads[-1] = [x.grad.clone(), *(p.grad for p in block.parameters())]
        for plain, again in zip(*grads, strict=True):
            assert torch.allclose(plain, again, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast(self, spec, dtype):
        block, x = build(spec), self.x[:, : spec.in_channels].to(dtype)
        exact = run(block, "branches", x.double())
        block = block.float()
        with torch.autocast("cpu", dtype=dtype):
            ours, theirs = (run(block, mode, x) for mode in ("online", "branches"))
        assert ours[0].dtype == theirs[0].dtype == dtype
        error = lambda result: (result[0].double() - exact[0]).norm().item()  # noqa: E731
        assert error(ours) < 1.5 * error(theirs)
        for name, wanted in exact[1].items():
            size = wanted.norm().item() + 1e-3
            assert (ours[1][name].double() - wanted).norm() < 1.5 * (
                theirs[1][name].double() - wanted
            ).norm() + 0.01 * size

    @pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
    def test_a_compiled_step(self, spec):
        block, x = set_branch_mode(build(spec), "online"), self.x[:, : spec.in_channels]
        twin = copy.deepcopy(block)
        compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
        x.requires_grad_(False)
        wanted = torch.autograd.grad(block(x).square().sum(), list(block.parameters()))
        got = torch.autograd.grad(compiled(x).square().sum(), list(twin.parameters()))
        for a, b in zip(wanted, got, strict=True):
            assert torch.allclose(a, b, rtol=1e-8, atol=1e-10)
        for a, b in zip(block.buffers(), twin.buffers(), strict=True):
            assert torch.allclose(a, b, rtol=1e-10)


def network(tiny, mode="auto"):
    return set_branch_mode(mobileone.create_model(tiny, num_classes=5), mode)


def test_a_network_for_grey_images_trains(tiny):
    """Its stem has one channel and one group, so it is depthwise and dense at once."""
    torch.manual_seed(0)
    start, x = mobileone.create_model(tiny, in_chans=1, num_classes=5), torch.randn(4, 1, 32, 32)
    exact = run(copy.deepcopy(start).double(), "branches", x.double())[0]
    for mode in ("online", "auto"):
        assert relative(run(start, mode, x)[0].double(), exact) < 1e-3


def test_fp16_with_a_gradient_scaler(tiny):
    """In either mode scaled gradients stay finite, an overflow skips its step, and the loss falls."""
    torch.manual_seed(0)
    start, x, y = network(tiny), torch.randn(16, 3, 32, 32), torch.arange(16) % 5
    ends = {}
    for mode in ("branches", "online"):
        model = set_branch_mode(copy.deepcopy(start), mode)
        optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.05), torch.amp.GradScaler("cpu", 2.0**10)
        losses = []
        for step in range(6):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                loss = nn.functional.cross_entropy(model(x).float(), y)
            factor = 1e30 if step == 3 else 1.0  # an overflow
            before = [p.detach().clone() for p in model.parameters()]
            scaler.scale(loss * factor).backward()
            scaler.step(optimizer)
            scaler.update()
            moved = any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
            assert moved == (step != 3), (mode, step)
            losses.append(loss.item())
        assert scaler.get_scale() == 2.0**9
        assert losses[-1] < losses[0]
        ends[mode] = torch.tensor(losses)
    assert (ends["online"] - ends["branches"]).abs().max() < 0.1 * ends["branches"].abs().max()


def test_without_a_compiler_a_network_trains_the_same_and_says_it_is_slower(tiny, monkeypatch, request):
    torch.manual_seed(0)
    start, x = network(tiny).double(), torch.randn(4, 3, 32, 32, dtype=torch.float64)
    wanted = run(start, "online", x)
    request.getfixturevalue("no_kernels_yet")
    monkeypatch.setenv("CC", "there-is-no-such-compiler")
    with pytest.warns(RuntimeWarning, match="training runs as plain torch, which is slower"):
        got = run(start, "online", x)
    for name, gradient in wanted[1].items():
        assert relative(got[1][name], gradient) < 1e-7, name
    x = torch.zeros(16, 3, 160, 160, dtype=torch.float64)
    assert not online_pays(start.stem.spec, x), "auto stays with the branches"


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
def test_a_unit_of_many_channels_is_one_graph():
    torch.compiler.reset()
    block = set_branch_mode(build(BlockSpec(64, 64, 1, num_conv_branches=2)), "online")
    twin, x = copy.deepcopy(block), torch.randn(4, 64, 3, 3, dtype=torch.float64)
    for forward in (block, torch.compile(twin, backend="aot_eager", fullgraph=True)):
        forward(x).square().sum().backward()
    for p, q in zip(block.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # inductor's own import
@pytest.mark.filterwarnings("ignore:`torch._prims_common.check` is deprecated")  # inductor's own diagonal
@pytest.mark.parametrize("k", [1, 3])
def test_a_whole_step_compiled_by_inductor(k):
    torch.compiler.reset()
    torch.manual_seed(0)
    variant = mobileone.Variant("tiny", (8, 8, 16, 16), num_conv_branches=k, depths=(1, 1, 1, 1))
    start, x, y = network(variant), torch.randn(8, 3, 32, 32), torch.arange(8) % 5
    models = [set_branch_mode(copy.deepcopy(start), "online") for _ in range(2)]
    for forward in (models[0], torch.compile(models[1], fullgraph=True)):
        nn.functional.cross_entropy(forward(x), y).backward()
    for (name, p), q in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert (p.grad - q.grad).norm() < 1e-3 * p.grad.norm() + 1e-5, name
    for p, q in zip(models[0].buffers(), models[1].buffers(), strict=True):
        assert torch.allclose(p, q, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", mobileone.list_models())
def test_exactness_of_every_variant(name):
    """The figures of docs/online.md: float64, 64 px, random affine BatchNorm."""
    torch.manual_seed(0)
    model = mobileone.create_model(name, num_classes=10).double()
    for norm in norms(model):
        nn.init.uniform_(norm.weight, 0.5, 1.5)  # near 0 any two orders of additions part
        nn.init.normal_(norm.bias, std=0.5)
    twin = set_branch_mode(copy.deepcopy(model), "online")
    set_branch_mode(model, "branches")
    x, weight = torch.randn(4, 3, 64, 64, dtype=torch.float64), torch.randn(4, 10, dtype=torch.float64)
    outs = [net(x) for net in (model, twin)]
    for out in outs:
        (out * weight).sum().backward()
    assert relative(outs[1], outs[0]) < 1e-10
    for (which, wanted), got in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert relative(got.grad, wanted.grad) < 1e-8, which
    for (which, wanted), got in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert relative(got.double(), wanted.double()) < 1e-10, which
