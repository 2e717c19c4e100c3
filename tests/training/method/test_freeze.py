"""Frozen modules: named, without gradients, out of the optimizer."""

import pytest

from mobileone.errors import ConfigError
from mobileone.model.create import create_model
from mobileone.training.config.optimization import Optim
from mobileone.training.method.freeze import freeze_
from mobileone.training.method.optim import create_optimizer
from mobileone.variants import Variant


def test_named_modules_leave_the_optimizer(tiny: Variant) -> None:
    model = create_model(tiny, num_classes=3)
    freeze_(model, ["stem", "stages.0"])
    inside = {id(p) for module in (model.stem, model.stages[0]) for p in module.parameters()}
    optimizer = create_optimizer(model, Optim(momentum=0.9, weight_decay=0.0), lr=0.1)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert inside
    assert not inside & trained
    assert inside | trained == {id(p) for p in model.parameters()}


@pytest.mark.parametrize(("name", "near"), [("stagse", "stages"), ("stages.0.9", r"stages\.0\.\d"), ("", "")])
def test_an_unknown_module_names_the_nearest(tiny: Variant, name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"no module '{name}'" + (f"; did you mean {near}" if near else "")):
        freeze_(create_model(tiny, num_classes=3), [name])
