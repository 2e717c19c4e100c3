"""The model of benchmarks/gpu_traffic.py against what the Triton kernels load and store."""

import json

import pytest
from benchmarks.gpu_traffic import (
    CARDS,
    TRITON_DEPTHWISE,
    TRITON_POINTWISE,
    milliseconds,
    step_traffic,
)

COUNT = """
import json
import numpy as np
import torch
from triton.runtime import interpreter
from mobileone.functional.kernels import affine_triton, depthwise_backward_triton as backward
from mobileone.functional.kernels import depthwise_convolution_triton as forward
from mobileone.functional.kernels.depthwise_moments_triton import depthwise_moments
from mobileone.functional.window import Window

touched = {"load": [], "store": []}
native = interpreter._interpreter
load, store = native.load, native.store
def counted_load(pointers, mask, other, dtype):
    touched["load"].append(pointers[mask])
    return load(pointers, mask, other, dtype)
def counted_store(pointers, value, mask):
    touched["store"].append(pointers[mask])
    return store(pointers, value, mask)
native.load, native.store = counted_load, counted_store

def pass_of(work, **tensors):
    # How many times over a tensor's own addresses were loaded, and how many were touched at all.
    for addresses in touched.values():
        addresses.clear()
    result = work()
    tensors = tensors | ({"result": result} if isinstance(result, torch.Tensor) else {})
    found = {}
    for name, tensor in tensors.items():
        start, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        inside = {
            kind: np.concatenate([a.ravel() for a in addresses] or [np.empty(0, np.uint64)])
            for kind, addresses in touched.items()
        }
        inside = {kind: a[(a >= start) & (a < end)] for kind, a in inside.items()}
        found[name] = {
            "read": len(np.unique(inside["load"])) / tensor.numel(),
            "written": len(np.unique(inside["store"])) / tensor.numel(),
            "loads": len(inside["load"]) / tensor.numel(),
        }
    return found

torch.manual_seed(0)
act = lambda *shape: torch.randn(*shape, dtype=torch.float32).to(torch.float16).contiguous(
    memory_format=torch.channels_last)
results = {}
for stride in STRIDES:
    window = Window((3, 3), (stride, stride), (1, 1))
    x, c = act(1, 16, 12, 10), 16
    y = act(1, 16, *window.output_size(12, 10))
    kernel, vector, slopes, offsets = (torch.randn(*size, c) for size in ((9,), (), (9, 9), (9,)))
    out = act(*y.shape)
    results[f"moments {stride}"] = pass_of(lambda: depthwise_moments(x, window) and None, x=x)
    results[f"convolution {stride}"] = pass_of(
        lambda: forward.convolution(x, kernel, vector, window, relu=True), x=x)
    results[f"kernel_gradient {stride}"] = pass_of(
        lambda: forward.kernel_gradient(x, vector, y, out, window) is None, x=x, grad=y, out=out)
    results[f"input_gradient {stride}"] = pass_of(
        lambda: backward.input_gradient(x, vector, slopes, offsets, y, out, kernel, window),
        x=x, grad=y, out=out)
y, g = act(1, 16, 6, 5), act(1, 16, 6, 5)
results["bias_relu 1"] = pass_of(lambda: affine_triton.add_bias_relu_(y, torch.randn(16), relu=True))
results["behind_relu 1"] = pass_of(lambda: affine_triton.behind_relu(g, y)[0], grad=g, out=y)
print(json.dumps(results))
"""
OF_Y = ("grad", "out")


def modelled(found, name):
    """Times x and y are moved, as the tables count: an input's gradient is like x, other results like y."""
    moved = {tensor: count["read"] + count["written"] for tensor, count in found.items()}
    of_x = moved.get("x", 0) + (moved["result"] if name == "input_gradient" else 0)
    of_y = sum(moved.get(tensor, 0) for tensor in OF_Y)
    return of_x, of_y + (moved.get("result", 0) if name != "input_gradient" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
def test_triton_kernels_move_what_the_model_says(interpreted, stride):
    found = json.loads(interpreted(COUNT.replace("STRIDES", f"[{stride}]")))
    tables = TRITON_DEPTHWISE | {name: TRITON_POINTWISE[name] for name in ("bias_relu", "behind_relu")}
    for key, tensors in found.items():
        name = key.split()[0]
        assert modelled(tensors, name) == pytest.approx(tables[name]), (key, tensors)


@pytest.mark.slow
def test_a_pixel_comes_from_the_first_cache_few_times(interpreted):
    """Rows are walked, so a pixel is loaded for its columns alone, and the edge once more; 25 without."""
    found = json.loads(interpreted(COUNT.replace("STRIDES", "[1]")))
    assert found["convolution 1"]["x"]["loads"] < 4
    assert found["kernel_gradient 1"]["grad"]["loads"] == 1


def test_a_triton_step_of_s0_moves_less_than_the_plain_network_and_a_fifth_of_the_branches():
    forms = {
        form: step_traffic("mobileone_s0", form, batch=2, size=224)
        for form in ("branches", "plain", "online")
    }
    moved = {form: sum(unit.num_bytes for unit in units) for form, units in forms.items()}
    assert moved["online"] < moved["plain"] < moved["branches"] / 4
    for card in CARDS:
        assert milliseconds(forms["online"], card) < milliseconds(forms["branches"], card) / 4
