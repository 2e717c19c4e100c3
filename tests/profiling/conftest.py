"""Networks unlike ours, and profiles that need no clock."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mobileone
from mobileone.model.create import create_model
from mobileone.profiling.clock import Measurement, MeasurementProtocol
from mobileone.profiling.operator import Operand, Operator
from mobileone.profiling.profile import _with_reference_view
from mobileone.profiling.profile_result import ProfileResult
from mobileone.profiling.roofline import Machine
from mobileone.profiling.trace import trace
from mobileone.variants import Variant

NEEDS_PROFILE = "needs mobileone[profile]"


class Residual(nn.Module):
    """Convolution, BatchNorm, strided and grouped convolution with a shortcut, pool, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.left = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4)
        self.right = nn.Conv2d(8, 16, 1, stride=2)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.bn(self.stem(x))))
        x = F.relu(self.left(x) + self.right(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP over patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, stride=8)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        n, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.out(attended.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm2(x))


class UpDown(nn.Module):
    """A strided convolution undone by a grouped transposed one, and a dilated one."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 4, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, groups=2)
        self.last = nn.Conv2d(6, 2, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.sigmoid(self.up(F.leaky_relu(self.down(x)))))


class BatchedProducts(nn.Module):
    """Matmuls of activations, as in attention written by hand, with a library's encoder layer behind."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)[..., :16]
        return self.encoder((x @ x.transpose(1, 2)).softmax(-1) @ x)


ARCHITECTURES = {
    "residual": Residual,
    "transformer": TransformerBlock,
    "transposed": UpDown,
    "products": BatchedProducts,
}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    """A network that is not ours, in eval mode; takes (2, 3, 32, 32)."""
    return ARCHITECTURES[request.param]().eval()


MACHINE = Machine(peak_gflops=100.0, peak_source="matmul", copies=((2**20, 50.0), (2**28, 10.0)))


def timed(operators: tuple[Operator, ...], milliseconds: float = 0.5) -> tuple[Operator, ...]:
    """The operators with times: the first takes `milliseconds`, each next one 1 % less."""
    return tuple(
        Operator(op.name, op.kind, op.layer, op.inputs, op.outputs, milliseconds * 0.99**i)
        for i, op in enumerate(operators)
    )


def profile_of(variant, *, form="inference", convention="caffe2", machine=MACHINE, size=224) -> ProfileResult:
    """The profile of one of our networks with made-up times, traced without computing anything."""
    with torch.device("meta"):
        model = create_model(variant, form=form).eval()
    operators = timed(trace(model, (torch.zeros(1, 3, size, size, device="meta"),)))
    measurement = Measurement(
        operators=operators,
        operator_sums_ms=(1.0, 2.0, 3.0),
        latencies_ms=(1.0, 2.0, 3.0),
        num_parameters=sum(p.numel() for p in model.parameters()),
        inputs=(Operand((1, 3, size, size)),),
    )
    protocol = MeasurementProtocol(
        clock="torch",
        optimized=False,
        device="cpu",
        processor="<processor> & more",
        cores=2,
        threads=1,
        runs=3,
        warmup=10,
        versions={"torch": "0"},
        inputs=(f"float32 1×3×{size}×{size}",),
        date="2026-01-01",
    )
    return ProfileResult.of(
        _with_reference_view(measurement),
        name=f"{model.variant.name}:{form}",
        convention=convention,
        protocol=protocol,
        machine=machine,
    )


def kinds(profile):
    """How often each operator type ran."""
    return {row.name: row.num_operators for row in profile.rows()}


X = torch.randn(1, 3, 32, 32)


FORMS = ("train", "inference")


SMALL = Variant("small", (16, 16, 16, 32), depths=(1, 1, 1, 1), se_blocks=(0, 0, 0, 1))


@pytest.fixture(scope="module")
def models():
    """A small network of ours in both forms."""
    return {form: create_model(SMALL, num_classes=10, form=form).eval() for form in FORMS}


@pytest.fixture(scope="module")
def onnx_profiles(models):
    """Each form as ONNX Runtime executes it."""
    pytest.importorskip("onnxruntime", reason=NEEDS_PROFILE)
    return {form: mobileone.profile(models[form], X, runs=3, threads=1) for form in FORMS}


def onnx_file(path, nodes, *, shape=(1, 3, 8, 8), weights=(), domain=None):
    """An .onnx file of these nodes from x to y."""
    onnx = pytest.importorskip("onnx", reason=NEEDS_PROFILE)
    make = onnx.helper
    graph = make.make_graph(
        nodes,
        "graph",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights],
    )
    opsets = [make.make_opsetid("", 18), *([make.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(make.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def conv_file(path, **options):
    """An .onnx file: a convolution named as PyTorch's older exporter did, an operator without rules."""
    onnx = pytest.importorskip("onnx", reason=NEEDS_PROFILE)
    weights = [("w", np.ones((4, 3, 3, 3), np.float32)), ("b", np.ones(4, np.float32))]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"], name="/body/body.0/Conv"),
        onnx.helper.make_node("Softsign", ["c"], ["y"]),
    ]
    return onnx_file(path, nodes, weights=weights, **options)
