"""Teachers of every kind, and those that are refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mobileone.checkpoint.store import save_model
from mobileone.data.pixels import normalize
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.reparam.fuse import reparameterize
from mobileone.training.method.teacher import Teacher, open_teacher
from mobileone.variants import Variant

CLASSES = ("cat", "dog", "owl")
SPEC = InputSpec(size=32)
CPU = torch.device("cpu")


def opened(source: object, classes: tuple[str, ...] = CLASSES, size: int = 32) -> Teacher:
    return open_teacher(source, classes=classes, input_spec=InputSpec(size=size), device=CPU)  # type: ignore[arg-type]


@pytest.fixture
def teacher(tiny: Variant, randomize) -> nn.Module:  # type: ignore[no-untyped-def]
    spec = InputSpec(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    return randomize(create_model(tiny, num_classes=3, class_names=CLASSES, input_spec=spec))


def pixels(size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)


def test_a_model_teaches_with_its_own_preprocessing_and_stays_as_it_is(
    teacher: nn.Module, tmp_path: Path
) -> None:
    path = save_model(teacher, tmp_path / "teacher.safetensors")
    images = pixels()
    expected = teacher(normalize(images, teacher.input_spec)).detach()
    taught = opened(path)(images)
    torch.testing.assert_close(taught, expected, rtol=1e-3, atol=1e-3)
    assert not taught.requires_grad
    assert torch.equal(opened(teacher)(images), expected)
    torch.testing.assert_close(opened(path)(images.float()), taught)


def test_any_module_gets_the_images_as_the_student_does() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # three means, three "classes"
    images = pixels()
    expected = normalize(images, SPEC).mean((2, 3))
    torch.testing.assert_close(opened(module)(images), expected)
    assert not module.training


def test_an_exported_file_teaches_other_sizes_and_mixed_pixels(teacher: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt2"
    export(reparameterize(teacher), path, format="torch")
    images = pixels()
    expected = teacher(normalize(images, teacher.input_spec)).detach()
    torch.testing.assert_close(opened(path)(images), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(opened(path)(images.float() + 0.4), expected, rtol=1e-3, atol=1e-3)
    smaller = torch.full((2, 3, 24, 24), 77, dtype=torch.uint8)
    flat = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
    torch.testing.assert_close(opened(path, size=24)(smaller), opened(path)(flat))


def test_other_classes_are_refused_in_one_line(teacher: nn.Module) -> None:
    with pytest.raises(ConfigError, match="gives 3 logits, the data has 2 classes"):
        opened(teacher, ("cat", "dog"))
    with pytest.raises(ConfigError, match="class 1 is 'dog', not 'cow'"):
        opened(teacher, ("cat", "cow", "owl"))
    with pytest.raises(ConfigError, match="Conv2d gives 3×32×32 logits"):
        opened(nn.Conv2d(3, 3, 1))
    with pytest.raises(ConfigError, match="the teacher Linear cannot take images of 3×32×32"):
        opened(nn.Linear(7, 3))
    with pytest.raises(ConfigError, match=r"mobileone_s4 is a variant without weights; .*apple_in1k"):
        opened("mobileone_s4")
