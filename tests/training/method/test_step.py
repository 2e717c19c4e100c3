"""One step against the same arithmetic written out."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobileone.data.loader import Batch
from mobileone.data.pixels import normalize
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.objective import Mix
from mobileone.training.config.optimization import Optim
from mobileone.training.method.ema import ModelEma
from mobileone.training.method.lessons import Lessons
from mobileone.training.method.loss import TrainLoss, similarity_distillation
from mobileone.training.method.mix import Mixer, mixup, neighbours
from mobileone.training.method.optim import create_optimizer
from mobileone.training.method.step import TrainStep
from mobileone.training.method.taught import Taught
from mobileone.variants import Variant

SPEC = InputSpec(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Batch(images=images, labels=torch.tensor([0, 1, 2, 0]), indices=torch.arange(4))


def make_step(model: nn.Module, *, amp: str | None = None, ema: bool = True) -> TrainStep:
    return TrainStep(
        model=model,
        network=model,
        input_spec=SPEC,
        optimizer=create_optimizer(model, Optim(momentum=0.9, weight_decay=1e-4), lr=0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=amp == "fp16"),
        ema=ModelEma(model, decay=0.9995) if ema else None,
        device=torch.device("cpu"),
        amp=amp,
        loss=TrainLoss(smoothing=0.1),
    )


def test_two_steps_are_momentum_sgd_on_the_smoothed_loss(tiny: Variant) -> None:
    torch.manual_seed(0)
    model = create_model(tiny, num_classes=3).train()
    twin = copy.deepcopy(model)
    average = copy.deepcopy(model).eval()
    step = make_step(model)
    velocity: dict[str, torch.Tensor] = {}
    for number, (lr, decay) in enumerate([(0.1, 1e-2), (0.05, 5e-3)]):
        loss = step(batch(), lr=lr, weight_decay=decay).loss
        twin.zero_grad()
        images = (batch().images.float() / 255 - 0.5) / 0.25
        expected = F.cross_entropy(twin(images), batch().labels, label_smoothing=0.1)
        expected.backward()
        with torch.no_grad():
            for name, p in twin.named_parameters():
                gradient = p.grad + (decay * p if p.ndim > 1 else 0)
                velocity[name] = gradient if not number else 0.9 * velocity[name] + gradient
                p -= lr * velocity[name]
            keep = (1 + number) / (10 + number)
            for mean, value in zip(average.parameters(), twin.parameters(), strict=True):
                mean.copy_(keep * mean + (1 - keep) * value)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=1e-5)
    assert not loss.requires_grad
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    assert step.ema is not None
    for p, q in zip(step.ema.module.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_learns_a_batch_with_float32_weights(tiny: Variant, amp: str) -> None:
    torch.manual_seed(0)
    model = create_model(tiny, num_classes=3).train()
    step = make_step(model, amp=amp, ema=False)
    losses = [step(batch(), lr=0.05, weight_decay=0.0).loss.item() for _ in range(8)]
    assert losses[-1] < losses[0] - 0.1
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_an_overflow_in_fp16_skips_the_step(tiny: Variant) -> None:
    model = create_model(tiny, num_classes=3).train()
    step = make_step(model, amp="fp16", ema=False)
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    before = model.head.fc.weight.detach().clone()
    step(batch(), lr=0.1, weight_decay=0.0)
    assert torch.equal(model.head.fc.weight, before)
    assert step.scaler.get_scale() == 2.0**119


def test_an_overflow_in_the_very_first_step_leaves_the_momentum_at_zero(tiny: Variant) -> None:
    model = create_model(tiny, num_classes=3).train()
    step = make_step(model, amp="fp16", ema=False)
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    step(batch(), lr=0.1, weight_decay=0.0)
    buffers = [state["momentum_buffer"] for state in step.optimizer.state.values()]
    assert len(buffers) == len(list(model.parameters()))
    assert not any(buffer.any() for buffer in buffers)


def test_a_rank_with_more_images_weighs_more(tiny: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two ranks share six images; this one has four. DDP takes the plain mean over ranks, so that
    # (4/6 · 2 · mean of four + 2/6 · 2 · mean of two) / 2 is the mean of all six.
    monkeypatch.setattr(Distributed, "reduce_sum", lambda self, value: value.clone())
    gradients = []
    for step_images in (8, 6):  # 8 is an equal share of four
        torch.manual_seed(0)
        model = create_model(tiny, num_classes=3).train()
        step = make_step(model)
        step.dist, step.step_images = Distributed(world_size=2), step_images
        step(batch(), lr=0.1, weight_decay=0.0)
        gradients.append(model.head.fc.bias.grad.clone())
    torch.testing.assert_close(gradients[1], gradients[0] * (4 * 2 / 6))


class Frozen(nn.Module):
    """Without BatchNorm, so that a batch is the sum of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.conv(x).relu().mean((2, 3)))
        return out


@pytest.mark.parametrize(("accumulate", "parts"), [(1, [4]), (2, [2, 2]), (3, [2, 1, 1]), (9, [1, 1, 1, 1])])
def test_parts_of_a_batch_make_the_step_of_the_whole(accumulate: int, parts: list[int]) -> None:
    torch.manual_seed(0)
    model = Frozen()
    twin = copy.deepcopy(model)
    whole, step = make_step(twin, ema=False), make_step(model, ema=False)
    step.accumulate = accumulate
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    for number in range(3):
        one = whole(batch(), lr=0.1, weight_decay=1e-2, step=number)
        other = step(batch(), lr=0.1, weight_decay=1e-2, step=number)
        torch.testing.assert_close(one.loss, other.loss)
    assert sizes == parts * 3
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_fresh_statistics_are_the_average_over_all_parts(tiny: Variant) -> None:
    model = create_model(tiny, num_classes=3).train()
    step = make_step(model, ema=False)
    step.accumulate = 2
    norm = model.stem.conv_kxk[0].bn
    step.fresh_norms = [(norm, 0.1)]
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().mean((0, 2, 3))))
    for number in range(2):
        step(batch(), lr=0.0, weight_decay=0.0, step=number)
    assert len(seen) == 4
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("amp", [None, "fp16"])
def test_long_gradients_are_shortened_to_the_norm(amp: str | None) -> None:
    torch.manual_seed(0)
    model = Frozen()
    before = [p.detach().clone() for p in model.parameters()]
    step = make_step(model, ema=False, amp=amp)
    step.clip_norm = 0.01
    step(batch(), lr=1.0, weight_decay=0.0)
    moved = torch.cat([(p - q).flatten() for p, q in zip(model.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)
    step.clip_norm = 1e6  # longer than any: nothing changes
    twin = copy.deepcopy(model)
    plain = make_step(twin, ema=False, amp=amp)
    plain.optimizer.load_state_dict(copy.deepcopy(step.optimizer.state_dict()))
    plain.scaler.load_state_dict(step.scaler.state_dict())
    for each in (step, plain):
        each(batch(), lr=0.1, weight_decay=0.0)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_a_mixed_step_is_that_on_mixed_images_and_targets() -> None:
    torch.manual_seed(0)
    model = Frozen()
    step = make_step(model, ema=False)
    step.mixer = Mixer(options=Mix(mixup=1.0), seed=5)
    blend = step.mixer.draw(7)
    assert blend is not None
    pixels = mixup(batch().images, share=blend.share)
    logits = model((pixels / 255 - 0.5) / 0.25)
    losses = [
        F.cross_entropy(logits, y, label_smoothing=0.1) for y in (batch().labels, neighbours(batch().labels))
    ]
    expected = blend.share * losses[0] + (1 - blend.share) * losses[1]
    loss = step(batch(), lr=0.1, weight_decay=0.0, step=7).loss
    torch.testing.assert_close(loss, expected.detach())


def test_the_teacher_sees_what_the_student_sees() -> None:
    torch.manual_seed(0)
    model, seen = Frozen(), []

    def teacher(pixels: torch.Tensor) -> Taught:
        seen.append(pixels)
        return Taught(torch.zeros(len(pixels), 3))

    step = make_step(model, ema=False)
    step.mixer, step.teacher = Mixer(options=Mix(mixup=1.0), seed=5), teacher
    step.loss = TrainLoss(teacher_weight=1.0)
    logits = model((mixup(batch().images, share=step.mixer.draw(0).share) / 255 - 0.5) / 0.25)
    expected = F.kl_div(logits.log_softmax(1), torch.full((4, 3), 1 / 3), reduction="batchmean")
    torch.testing.assert_close(step(batch(), lr=0.1, weight_decay=0.0).loss, expected.detach())
    torch.testing.assert_close(seen[0], mixup(batch().images, share=step.mixer.draw(0).share))


@pytest.mark.parametrize("mixes", [False, True])
def test_lessons_are_of_the_images_and_mix_as_they_do(mixes: bool) -> None:
    model, images = Frozen(), batch()
    images.indices = torch.tensor([5, 0, 2, 5])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    step = make_step(model, ema=False)
    step.lessons, step.loss, step.accumulate = Lessons(Taught(logits)), TrainLoss(teacher_weight=1.0), 2
    pixels, targets = batch().images.float(), logits[images.indices].softmax(1)
    if mixes:
        step.mixer = Mixer(options=Mix(mixup=1.0), seed=5)
        share = step.mixer.draw(0).share
        pixels, targets = mixup(pixels, share=share), neighbours(targets).lerp(targets, share)
    student = model((pixels / 255 - 0.5) / 0.25).log_softmax(1)
    expected = F.kl_div(student, targets, reduction="batchmean")
    torch.testing.assert_close(step(images, lr=0.1, weight_decay=0.0).loss, expected.detach())


@pytest.mark.parametrize("mixes", [False, True])
def test_features_are_compared_with_the_teachers_mixed_as_the_images_are(tiny: Variant, mixes: bool) -> None:
    model = create_model(tiny, num_classes=3).train()
    taught = Taught(torch.randn(4, 3), torch.randn(4, 6))
    step = make_step(model, ema=False)
    step.lessons, step.loss = Lessons(taught), TrainLoss(feature_weight=2.0)
    pixels, wanted = batch().images.float(), taught.features
    assert wanted is not None
    plain = TrainLoss()
    if mixes:
        step.mixer = Mixer(options=Mix(mixup=1.0), seed=5)
        share = step.mixer.draw(0).share
        pixels, wanted = mixup(pixels, share=share), neighbours(wanted).lerp(wanted, share)
    twin = copy.deepcopy(model)
    features = twin.forward_head(twin.forward_features(normalize(pixels, step.input_spec)), pre_logits=True)
    alone = make_step(copy.deepcopy(model), ema=False)
    alone.mixer, alone.loss = step.mixer, plain
    expected = alone(batch(), lr=0.1, weight_decay=0.0).loss + 2 * similarity_distillation(features, wanted)
    torch.testing.assert_close(step(batch(), lr=0.1, weight_decay=0.0).loss, expected.detach())
    ours, others = (next(iter(each.network.parameters())) for each in (step, alone))
    assert not torch.equal(ours, others)  # the loss has a gradient


def test_an_fp16_overflow_is_told_and_moves_no_running_statistics(tiny: Variant) -> None:
    model = create_model(tiny, num_classes=3).train()
    step = make_step(model, amp="fp16")
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, growth_interval=1000)
    before = copy.deepcopy(model.state_dict())
    result = step(batch(), lr=0.1, weight_decay=0.0)
    assert result.loss.isfinite()
    assert result.finite
    assert result.overflowed
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    step.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    assert not step(batch(), lr=0.1, weight_decay=0.0).overflowed
