"""What a probe takes, and what does not go with it."""

import re

import pytest

from mobileone.errors import ConfigError
from mobileone.training.config.augmentation import Augment
from mobileone.training.config.objective import Objective
from mobileone.training.config.optimization import Optim
from mobileone.training.config.probe import Probe
from mobileone.training.config.train_config import TrainConfig, override

PROBE = TrainConfig(init="weights.safetensors", epochs=1, probe=Probe(views="plain"))


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("views", "all", "one of none, plain, mirrored"),
        ("strengths", (), "falling numbers above 0"),
        ("strengths", (0.1, 1.0), "falling numbers above 0"),
        ("strengths", (1.0, 1.0), "falling numbers above 0"),
        ("strengths", (1.0, 0.0), "falling numbers above 0"),
        ("strengths", (float("nan"),), "falling numbers above 0"),
        ("held_out", 0.0, r"in \(0, 1\)"),
        ("held_out", 1.0, r"in \(0, 1\)"),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError, match=rf"probe\.{field} must be {wanted}"):
        Probe(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 20}, "epochs must be 1 with a probe, which fits at once, got 20"),
        ({"optim": Optim(base_lr=0.3)}, "optim.base_lr=0.3 is of training by steps"),
        ({"augment": Augment(flip=0.0)}, "augment.flip=0.0 is of training by steps"),
        ({"freeze": ("stem",)}, "freeze=('stem',) is of training by steps"),
        (
            {"objective": Objective(loss="asymmetric")},
            "objective.loss must be convex with a probe (bce, say)",
        ),
        ({"init": None}, "a probe needs the features of trained weights; set init as well"),
    ],
)
def test_what_a_probe_would_not_look_at_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        PROBE.with_values(settings)


def test_the_loss_and_the_input_are_a_probes_too() -> None:
    config = override(PROBE, ["label_smoothing=0.2", "class_weights=balanced", "input_size=96", "loss=bce"])
    assert config.objective == Objective(loss="bce", label_smoothing=0.2, class_weights="balanced")
    assert TrainConfig.from_dict(config.to_dict()) == config
