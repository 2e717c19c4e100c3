"""One step against the same arithmetic written out."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobileone.data.loader import Batch
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.train.distributed import Distributed
from mobileone.train.ema import ModelEma
from mobileone.train.optim import create_optimizer
from mobileone.train.step import TrainStep, resolve_amp
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
        optimizer=create_optimizer(model, lr=0.1, momentum=0.9, weight_decay=1e-4),
        scaler=torch.amp.GradScaler("cpu", enabled=amp == "fp16"),
        ema=ModelEma(model, decay=0.9995) if ema else None,
        device=torch.device("cpu"),
        amp=amp,
        label_smoothing=0.1,
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


def test_amp_on_a_cpu_is_off_unless_asked_for() -> None:
    cpu = torch.device("cpu")
    assert [resolve_amp(a, cpu) for a in ("auto", "off", "bf16", "fp16")] == [None, None, "bf16", "fp16"]
