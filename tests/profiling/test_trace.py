"""What PyTorch dispatches for a model, without times."""

import pytest
import torch
from torch import nn

from mobileone.errors import ProfileError
from mobileone.profiling.trace import trace


def test_a_trace_names_layers_and_knows_constants():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    ).eval()
    operators = trace(model, (torch.zeros(1, 3, 2, 2),))
    named = {op.kind: op for op in operators}
    conv, norm, fc = named["Conv"], named["SpatialBN"], named["FC"]
    assert [op.layer for op in (conv, norm, fc)] == ["0", "1", "2.1"]
    assert [(each.shape, each.is_parameter) for each in conv.inputs] == [
        ((1, 3, 2, 2), False), ((4, 3, 1, 1), True), ((4,), True),
    ]  # fmt: skip
    assert [each.is_parameter for each in fc.inputs] == [False, True, True], (
        "the transposed weight is one too"
    )
    assert norm.outputs == (conv.outputs[0],), "without what is kept for a backward pass"


def test_a_trace_leaves_no_hook_behind_and_needs_no_memory():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()
    assert [op.kind for op in trace(model, (torch.zeros(2, 3, device="meta"),))][-1] == "Relu"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_that_cannot_run_is_refused_by_its_input():
    with pytest.raises(ProfileError, match=r"Linear does not run on an input of \(1, 5\)"):
        trace(nn.Linear(3, 4), (torch.zeros(1, 5),))
