"""The training transform of every epoch."""

import dataclasses

from mobileone.data.auto_augment import AutoAugment
from mobileone.data.rand_augment import RandAugment, TrivialAugment
from mobileone.training.config.augmentation import Augment, Phase
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.transforms import transform_at


def test_every_policy_reaches_the_loader_at_its_phase_s_strength(config: TrainConfig) -> None:
    config = dataclasses.replace(
        config,
        epochs=4,
        progressive=(Phase(until=0.5, size=24, strength=0.5),),
        augment=Augment(policy="rand", strength=0.8, num_operations=3, magnitude=7, erasing=0.1),
    )
    early, late = (transform_at(config)(epoch) for epoch in (1, 2))
    assert (early.size, late.size, early.erasing) == (24, 32, 0.1)
    assert early.policy == RandAugment(num_operations=3, magnitude=7, strength=0.4)
    assert late.policy == RandAugment(num_operations=3, magnitude=7, strength=0.8)
    for name, kind in (("auto", AutoAugment), ("trivial", TrivialAugment), ("none", type(None))):
        augment = Augment(policy=name)
        assert isinstance(transform_at(dataclasses.replace(config, augment=augment))(0).policy, kind)


def test_crop_and_mirror_are_the_configuration_s(config: TrainConfig) -> None:
    augment = Augment(crop_scale=(0.3, 0.9), crop_ratio=(0.5, 2.0), flip=0.25, interpolation=("bicubic",))
    transform = transform_at(dataclasses.replace(config, augment=augment))(0)
    assert (transform.scale, transform.ratio, transform.flip) == ((0.3, 0.9), (0.5, 2.0), 0.25)
    assert transform.interpolation == ("bicubic",)


def test_orientation_is_followed_or_not_as_in_evaluation(config: TrainConfig) -> None:
    assert transform_at(config)(0).exif
    assert not transform_at(config.with_values({"input_spec.exif": False}))(0).exif
