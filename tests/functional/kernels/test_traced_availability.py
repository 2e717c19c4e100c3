import pytest
import torch

from mobileone.functional.kernels import availability


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
def test_a_compiled_function_sees_a_constant_and_one_graph(monkeypatch):
    asked = []
    monkeypatch.setattr(availability, "find_libraries", lambda *request: asked.append(request) or True)
    monkeypatch.setattr(availability, "find_triton", lambda: False)
    torch.compiler.reset()

    def double_if_there(x):
        there = availability.has_libraries(("affine",), x.dtype) and not availability.has_triton()
        return x * 2 if there else x

    compiled = torch.compile(double_if_there, backend="eager", fullgraph=True)
    assert compiled(torch.ones(3)).tolist() == [2.0] * 3
    assert compiled(torch.ones(3)).tolist() == [2.0] * 3
    assert asked == [(("affine",), torch.float32)], "once, while tracing"
