"""Teachers of every kind, and those that are refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mobileone.checkpoint.store import save_model
from mobileone.data.pixels import normalize
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.imagenet import WNIDS, human_name
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.reparam.fuse import reparameterize
from mobileone.training.method.teacher import SourceTeacher, open_teacher
from mobileone.variants import Variant

CLASSES = ("cat", "dog", "owl")
SPEC = InputSpec(size=32)
CPU = torch.device("cpu")


def opened(source: object, classes: tuple[str, ...] = CLASSES, size: int = 32) -> SourceTeacher:
    return open_teacher(source, classes=classes, input_spec=InputSpec(size=size), device=CPU)  # type: ignore[arg-type]


def said(
    source: object, images: torch.Tensor, classes: tuple[str, ...] = CLASSES, size: int = 32
) -> torch.Tensor:
    """The logits of a teacher."""
    return opened(source, classes, size)(images).logits


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
    taught = said(path, images)
    torch.testing.assert_close(taught, expected, rtol=1e-3, atol=1e-3)
    assert not taught.requires_grad
    assert torch.equal(said(teacher, images), expected)
    torch.testing.assert_close(said(path, images.float()), taught)


def test_any_module_gets_the_images_as_the_student_does() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # three means, three "classes"
    images = pixels()
    expected = normalize(images, SPEC).mean((2, 3))
    torch.testing.assert_close(said(module, images), expected)
    assert not module.training


def test_an_exported_file_teaches_other_sizes_and_mixed_pixels(teacher: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt2"
    export(reparameterize(teacher), path, format="torch")
    images = pixels()
    expected = teacher(normalize(images, teacher.input_spec)).detach()
    torch.testing.assert_close(said(path, images), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(said(path, images.float() + 0.4), expected, rtol=1e-3, atol=1e-3)
    smaller = torch.full((2, 3, 24, 24), 77, dtype=torch.uint8)
    flat = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
    torch.testing.assert_close(said(path, smaller, size=24), said(path, flat))


def test_other_classes_are_refused_in_one_line(teacher: nn.Module) -> None:
    with pytest.raises(
        ConfigError, match=r"lacks 1 of the data's 3 classes: 'cow'; it has 3, 'cat' to 'owl'"
    ):
        opened(teacher, ("cat", "cow", "owl"))
    many = tuple(f"c{index}" for index in range(12))
    with pytest.raises(
        ConfigError, match=r"lacks 12 of the data's 12 classes: 'c0', .*'c9' and 2 more; it has"
    ):
        opened(teacher, many)
    with pytest.raises(ConfigError, match="Conv2d gives 3×32×32 logits"):
        opened(nn.Conv2d(3, 3, 1))
    with pytest.raises(ConfigError, match="the teacher Linear cannot take images of 3×32×32"):
        opened(nn.Linear(7, 3))
    with pytest.raises(ConfigError, match=r"mobileone_s4 is a variant without weights; .*apple_in1k"):
        opened("mobileone_s4")


def test_the_students_classes_are_picked_by_name_in_its_order(teacher: nn.Module, tmp_path: Path) -> None:
    images = pixels()
    whole = said(teacher, images)
    assert torch.equal(said(teacher, images, ("owl", "cat")), whole[:, [2, 0]])
    path = save_model(teacher, tmp_path / "teacher.safetensors")
    torch.testing.assert_close(said(path, images, ("dog",)), whole[:, [1]], rtol=1e-3, atol=1e-3)
    exported = tmp_path / "teacher.pt2"
    export(reparameterize(teacher), exported, format="torch")
    torch.testing.assert_close(said(exported, images, ("dog", "cat")), whole[:, [1, 0]], rtol=1e-3, atol=1e-3)


def test_classes_of_imagenet_are_known_by_synset_and_by_words(tiny: Variant) -> None:
    known = create_model(tiny, num_classes=1000)
    images = pixels()
    whole = said(known, images, WNIDS)
    assert torch.equal(said(known, images, ("n01443537", "n01440764")), whole[:, [1, 0]])
    assert torch.equal(said(known, images, ("tench, Tinca tinca",)), whole[:, [0]])
    in_words = create_model(tiny, num_classes=2, class_names=("great white shark", "tench, Tinca tinca"))
    picked = said(in_words, images, ("n01440764",))
    assert torch.equal(picked, said(in_words, images, in_words.class_names)[:, [1]])
    with pytest.raises(
        ConfigError, match=r"lacks 1 of the data's 2 classes: 'tench'; it has 1000, 'n01440764'"
    ):
        opened(known, ("n01443537", "tench"))
    # Two synsets have the same words, so the words are no name.
    assert human_name("n02012849") == human_name("n03126707") == "crane"
    with pytest.raises(ConfigError, match="lacks 1 of the data's 1 classes: 'crane'"):
        opened(known, ("crane",))


def test_a_module_may_say_its_classes() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(
        ConfigError, match=r"gives 3 logits, the data has 1 classes, .* does not name its own"
    ):
        opened(module, ("dog",))
    module.class_names = list(CLASSES)  # type: ignore[assignment]
    images = pixels()
    torch.testing.assert_close(said(module, images, ("dog",)), normalize(images, SPEC).mean((2, 3))[:, 1:2])
    module.class_names = ["cat", "dog"]  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="2 class names for a model of 3 classes"):
        opened(module)


def test_a_teacher_that_looks_once_has_its_own_size_or_the_one_that_is_asked_for(
    teacher: nn.Module, tmp_path: Path
) -> None:
    options = {"classes": CLASSES, "input_spec": InputSpec(size=64), "device": CPU, "looks_once": True}
    assert open_teacher(teacher, **options).input_spec == teacher.input_spec
    assert open_teacher(teacher, **options, size=48).input_spec.size == 48
    path = tmp_path / "teacher.pt2"
    export(reparameterize(teacher), path, format="torch")
    assert open_teacher(path, **options, size=32).input_spec.size == 32
    with pytest.raises(ConfigError, match=r"exported for 32 px, so distill.size=48 does not fit it"):
        open_teacher(path, **options, size=48)


def test_a_digest_tells_weights_views_and_classes_apart(teacher: nn.Module, tmp_path: Path) -> None:
    digests = [opened(teacher).digest(), opened(teacher, ("owl", "cat")).digest()]
    assert opened(teacher).digest() == digests[0]
    exported = tmp_path / "teacher.pt2"
    export(reparameterize(teacher), exported, format="torch")
    digests += [opened(exported).digest(), opened(exported, ("owl", "cat")).digest()]
    options = {"classes": CLASSES, "input_spec": SPEC, "device": CPU, "looks_once": True}
    digests.append(open_teacher(teacher, **options, size=48).digest())
    with torch.no_grad():
        next(teacher.parameters()).view(-1)[0] += 1
    digests.append(opened(teacher).digest())
    assert len(set(digests)) == len(digests)


def test_features_are_what_the_last_linear_layer_is_given(teacher: nn.Module, tmp_path: Path) -> None:
    options = {"input_spec": SPEC, "device": CPU, "features": True}
    images = pixels()
    x = normalize(images, teacher.input_spec)
    expected = teacher.forward_head(teacher.forward_features(x), pre_logits=True).detach()
    opened = open_teacher(teacher, classes=("owl", "cat"), **options)
    assert opened.num_features == expected.shape[1]
    taught = opened(images)
    assert taught.features is not None
    torch.testing.assert_close(taught.features, expected)
    assert taught.logits.shape == (4, 2)
    assert not [hook for module in teacher.modules() for hook in module._forward_pre_hooks]
    assert open_teacher(teacher, classes=CLASSES, input_spec=SPEC, device=CPU)(images).features is None
    with pytest.raises(ConfigError, match="a Flatten has no linear layer, so it has no features"):
        open_teacher(nn.Flatten(), classes=CLASSES, **options)
    path = tmp_path / "teacher.pt2"
    export(reparameterize(teacher), path, format="torch")
    with pytest.raises(ConfigError, match=r"is an exported file, .* set distill\.features=0"):
        open_teacher(path, classes=CLASSES, **options)
