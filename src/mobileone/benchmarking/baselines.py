"""PyTorch as people run it, without any export: what every artifact must beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobileone.backends.table import Precision

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from mobileone.model.network import MobileOne

    Array = np.ndarray[Any, Any]

DTYPES: dict[Precision, str] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
GRAPH_WARMUP_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A way to run a network by PyTorch.

    Attributes:
        form: of the network.
        channels_last: whether input and weights are laid out so.
        compiled: by `torch.compile`; on a GPU as one CUDA graph.
        graph: whether its launches are recorded once, as one CUDA graph.
    """

    form: str = "inference"
    channels_last: bool = False
    compiled: bool = False
    graph: bool = False


# By the name in tables.
BASELINES = {
    "PyTorch unfused": Baseline(form="train"),
    "PyTorch fused": Baseline(),
    "PyTorch fused, channels_last": Baseline(channels_last=True),
    "PyTorch CUDA graph": Baseline(channels_last=True, graph=True),
    "PyTorch torch.compile": Baseline(channels_last=True, compiled=True),
}


def baselines_on(device: str) -> tuple[str, ...]:
    """The names of those that a device, `"cpu"` or `"cuda:0"`, can run.

    >>> "PyTorch CUDA graph" in baselines_on("cpu")
    False
    """
    return tuple(name for name, each in BASELINES.items() if device != "cpu" or not each.graph)


def baseline_precisions(device: str) -> tuple[Precision, ...]:
    """The arithmetic that they are measured in: on the CPU people run float32."""
    return ("fp32",) if device == "cpu" else tuple(DTYPES)


class BaselineSession:
    """A network run by PyTorch; on a GPU a `GpuSession`.

    Args:
        model: in eval mode; it is changed.
        baseline: how.
        precision: of weights and activations; float32 products on a GPU are float32's.
        device: where.
    """

    def __init__(
        self, model: MobileOne, baseline: Baseline, *, precision: Precision = "fp32", device: str = "cpu"
    ) -> None:
        import torch

        self.runtime = f"PyTorch {torch.__version__}"
        self.layout = torch.channels_last if baseline.channels_last else torch.contiguous_format
        self.device, dtype = torch.device(device), getattr(torch, DTYPES[precision])
        self.model: Any = model.to(self.device, dtype).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.dtype = next(model.parameters()).dtype
        self.precision = next(name for name, dtype in DTYPES.items() if str(self.dtype) == f"torch.{dtype}")
        self._compute: Callable[[Tensor], Tensor] = self.model
        self._graph = baseline.graph
        if baseline.compiled:
            import torch._inductor.config as inductor

            inductor.freezing = True  # constants folded and weights laid out once: its fastest
            self._compute = torch.compile(self.model, mode=None if device == "cpu" else "reduce-overhead")

    def run(self, batch: Array) -> Array:
        """float32 (N, C, H, W) to logits, float32 (N, classes)."""
        import torch

        from mobileone.precision import float32_products

        with torch.inference_mode(), float32_products(tf32=False):
            logits: Array = self._logits(self._put(batch)).float().cpu().numpy()
            return logits

    def resident(self, batch: Array) -> Callable[[], None]:
        """A run of a batch that lies on the GPU, into logits there, which waits until they are computed."""
        import torch

        from mobileone.precision import float32_products

        x = self._put(batch)

        def run() -> None:
            with torch.inference_mode(), float32_products(tf32=False):
                self._logits(x)
                torch.cuda.synchronize(self.device)

        return run

    def _put(self, batch: Array) -> Tensor:
        import torch

        return torch.from_numpy(batch).to(self.device, self.dtype).contiguous(memory_format=self.layout)

    def _logits(self, x: Tensor) -> Tensor:
        if self._graph:
            self._compute, self._graph = _recorded(self.model, x), False
        return self._compute(x)


def _recorded(network: Callable[[Tensor], Tensor], example: Tensor) -> Callable[[Tensor], Tensor]:
    """A network's launches for batches like this one, recorded: one launch replays them all."""
    import torch

    held = example.clone()
    here = torch.cuda.current_stream(held.device)
    aside = torch.cuda.Stream(held.device)  # type: ignore[no-untyped-call]
    aside.wait_stream(here)
    with torch.cuda.stream(aside):  # recording wants libraries that have chosen, and made their work space
        for _ in range(GRAPH_WARMUP_RUNS):
            network(held)
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = network(held)

    def replay(x: torch.Tensor) -> torch.Tensor:
        held.copy_(x)
        graph.replay()
        return logits

    return replay


def open_baseline(
    path: str, *, name: str, threads: int, precision: Precision = "fp32", device: str = "cpu"
) -> BaselineSession:
    """The baseline of that name for a checkpoint in its form.

    On a GPU cuDNN tries its algorithms for each shape once; the process is the candidate's own.
    """
    import torch

    from mobileone.checkpoint.load import load_model

    torch.set_num_threads(threads)
    if device != "cpu":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    baseline, model = BASELINES[name], load_model(path)
    assert model.form == baseline.form
    return BaselineSession(model, baseline, precision=precision, device=device)
