"""Pixels to logits in PyTorch, held against the same by hand."""

import pytest
import torch
from torch import nn

from mobileone.errors import MobileOneError
from mobileone.inference.torch_classifier import TorchClassifier, torch_logits
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model

SPEC = InputSpec(size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.fixture
def model(tiny, randomize):
    return randomize(create_model(tiny, num_classes=3, input_spec=SPEC, class_names=("a", "b", "c")))


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)


def by_hand(pixels):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    return (pixels / 255 - mean) / std


def test_it_carries_what_the_model_is(model):
    classifier = TorchClassifier(model)
    assert classifier.model is model
    assert (classifier.input_spec, classifier.num_classes) == (SPEC, 3)
    assert (classifier.class_names, classifier.device) == (("a", "b", "c"), torch.device("cpu"))
    assert str(classifier) == "in train form"


def test_logits_are_the_models_of_normalised_pixels(model, pixels):
    logits = TorchClassifier(model).logits(pixels)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(by_hand(pixels)))
    assert (logits.dtype, logits.requires_grad) == (torch.float32, False)


def test_fusing_is_a_copy_that_computes_the_same(model, pixels):
    fused = TorchClassifier(model, fuse=True)
    assert (fused.model.form, model.form, str(fused)) == ("inference", "train", "fused")
    expected = TorchClassifier(model).logits(pixels)
    torch.testing.assert_close(fused.logits(pixels), expected, rtol=1e-3, atol=1e-3)
    assert TorchClassifier(fused.model, fuse=True).model is fused.model
    with pytest.raises(MobileOneError, match="training mode"):
        TorchClassifier(model.train(), fuse=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_weights_say_the_dtype_and_logits_are_float32(model, pixels, dtype):
    exact = TorchClassifier(model).logits(pixels)
    logits = TorchClassifier(model.to(dtype)).logits(pixels)
    assert logits.dtype == torch.float32
    tolerance = 0.1 * float(exact.abs().max()) if dtype == torch.bfloat16 else 1e-3
    torch.testing.assert_close(logits, exact, rtol=0, atol=tolerance)


def test_mixed_precision_is_what_autocast_gives(model, pixels):
    mixed = TorchClassifier(model, amp="bf16").logits(pixels)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model(by_hand(pixels)).float()
    torch.testing.assert_close(mixed, expected, rtol=0.05, atol=0.05)
    assert not torch.equal(mixed, TorchClassifier(model).logits(pixels))


def test_channels_last_pixels_stay_so(pixels):
    seen = []

    class Looks(nn.Module):
        def forward(self, images):
            seen.append(images.is_contiguous(memory_format=torch.channels_last))
            return images.mean((2, 3))

    for given in (pixels, pixels.contiguous(memory_format=torch.channels_last)):
        torch_logits(Looks(), given, SPEC)
    assert seen == [False, True]


def test_any_modules_logits_fit_into_a_graph(pixels):
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    torch_logits(module, pixels, SPEC).sum().backward()
    assert module[2].weight.grad is not None


@pytest.mark.gpu
def test_logits_come_out_where_the_network_is(model, pixels):
    expected = TorchClassifier(model, fuse=True).logits(pixels)
    classifier = TorchClassifier(model, device="cuda", fuse=True)
    logits = classifier.logits(pixels)
    assert logits.device == classifier.device == torch.device("cuda", 0)
    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-2, atol=1e-2)
