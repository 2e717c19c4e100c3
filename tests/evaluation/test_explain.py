"""Explanations of images, and the command that draws them."""

import numpy as np
import pytest

from mobileone.errors import ConfigError
from mobileone.evaluation.explain import explain, find_class
from mobileone.images.decode import DecodedImage
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.variants import Variant


@pytest.fixture
def model(tiny: Variant) -> MobileOne:
    classes = ("cat", "dog", "owl", "fox")
    return create_model(tiny, num_classes=4, input_spec=InputSpec(size=64), class_names=classes).eval()


def test_the_likeliest_classes_come_first_or_the_one_asked_for(model: MobileOne) -> None:
    image = DecodedImage("noise", np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8))
    ((first, second),) = explain(model, [image], topk=2)
    assert first.probability >= second.probability
    assert first.heat.shape == first.pixels.shape[1:] == (64, 64)
    ((owl,),) = explain(model, [image], class_name="owl")
    assert (owl.class_name, owl.image) == ("owl", "noise")
    assert len(explain(model, [image], topk=9)[0]) == 4
    with pytest.raises(ConfigError, match="topk"):
        explain(model, [image], topk=0)


def test_a_class_has_names_and_a_number() -> None:
    assert find_class("3", ("a", "b", "c", "d")) == 3
    assert find_class("goldfish", ("n01440764", "n01443537")) == 1
    with pytest.raises(ConfigError, match=r"no class 'gldfish'; did you mean goldfish\?"):
        find_class("gldfish", ("n01440764", "n01443537"))
