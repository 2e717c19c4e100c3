"""PyTorch as people run it, without any export: what every artifact must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from mobileone.model.network import MobileOne

# Name in tables: (form of the network, whether in channels_last, whether compiled).
BASELINES = {
    "PyTorch unfused": ("train", False, False),
    "PyTorch fused": ("inference", False, False),
    "PyTorch fused, channels_last": ("inference", True, False),
    "PyTorch torch.compile": ("inference", True, True),
}


class BaselineSession:
    """A network run by PyTorch on the CPU.

    Args:
        model: in eval mode.
        channels_last: whether input and weights are laid out so.
    """

    precision = "fp32"

    def __init__(self, model: MobileOne, *, channels_last: bool, compiled: bool) -> None:
        import torch

        self.runtime = f"PyTorch {torch.__version__}"
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model: Any = model.to(memory_format=self.layout)  # type: ignore[call-overload]
        if compiled:
            import torch._inductor.config as inductor

            inductor.freezing = True  # constants folded and weights laid out once: its fastest
            self.model = torch.compile(self.model)

    def run(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """float32 (N, C, H, W) to logits, float32 (N, classes)."""
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(batch).contiguous(memory_format=self.layout)
            logits: np.ndarray[Any, Any] = self.model(x).numpy()
            return logits


def open_baseline(path: str, *, name: str, threads: int) -> BaselineSession:
    """The baseline of that name for a checkpoint in its form."""
    import torch

    from mobileone.checkpoint.load import load_model

    torch.set_num_threads(threads)
    form, channels_last, compiled = BASELINES[name]
    model = load_model(path)
    assert model.form == form
    return BaselineSession(model, channels_last=channels_last, compiled=compiled)
