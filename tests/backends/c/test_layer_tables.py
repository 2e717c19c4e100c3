"""Tables point to arrays that are there, each once."""

import re

import numpy as np

from mobileone.backends.c.layer_tables import READ_BEYOND, LayerTables
from mobileone.backends.c.network_steps import plan_network


def test_tables_name_arrays_that_exist(little):
    plan, tables = plan_network(little, (67, 67)), LayerTables(little)
    tables.stem(plan.stem, image_width=67, width=plan.stem_size[1])
    steps = [tables.step(index, step) for index, step in enumerate(plan.steps)]
    made = re.findall(r"static const ALIGNED \w+ (\w+)\[", "\n".join(tables.constants))
    assert len(made) == len(set(made))
    used = set(
        re.findall(
            r"\b(\w+_(?:weights|scale|reduce|expand|reduce_bias|expand_bias))\b", "\n".join(tables.tables)
        )
    )
    assert used <= set(made)
    assert len(steps) == len(plan.steps)
    assert [step.count("&maps[") for step in steps] == [2] * len(steps)
    assert tables.map_table({"a": 0, "b": 1, "dense": 2, "stem": 3}).count("\n  {") == len(tables.maps)


def test_weights_are_counted(little):
    plan, tables = plan_network(little, (67, 67)), LayerTables(little)
    tables.stem(plan.stem, image_width=67, width=plan.stem_size[1])
    for index, step in enumerate(plan.steps):
        tables.step(index, step)
    least = sum(weight.values.size for weight in little.weights.values())
    assert least < tables.weight_bytes
    (border,) = re.findall(r"border_row\[(\d+)", "\n".join(tables.constants))
    assert int(border) == (67 + READ_BEYOND) * 3
    assert np.prod(little.layers.convs[0].weight.shape[1:]) == 27
