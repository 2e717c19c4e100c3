import pytest
import torch

from mobileone.functional.kernels import availability
from mobileone.functional.online.kernel_table import kernels_are_there


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
def test_a_compiled_function_sees_a_constant_and_one_graph(monkeypatch):
    asked = []
    monkeypatch.setattr(availability, "has_kernels", lambda *request: asked.append(request) or True)
    torch.compiler.reset()

    def double_if_there(x):
        return x * 2 if kernels_are_there(("affine", "triton"), x.dtype) else x

    compiled = torch.compile(double_if_there, backend="eager", fullgraph=True)
    assert compiled(torch.ones(3)).tolist() == [2.0] * 3
    assert compiled(torch.ones(3)).tolist() == [2.0] * 3
    assert asked == [(("affine", "triton"), torch.float32)], "once, while tracing"
