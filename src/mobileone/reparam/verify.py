"""Do two models compute the same function? A report that says how nearly, and where they first part."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mobileone.errors import VerificationError
from mobileone.input_spec import sides
from mobileone.model.block import InferenceBlock, MobileOneBlock
from mobileone.model.features import Network
from mobileone.model.wrapped import unwrap
from mobileone.precision import float32_products
from mobileone.reparam.fuse import reparameterize

N = TypeVar("N", bound=Network)

# Largest relative difference that rounding alone explains, by the coarser of the two models' dtypes;
# the exact fold of S0–S4 stays well below each (see docs/fusion.md).
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True, slots=True)
class Difference:
    """Greatest difference between two outputs of one layer.

    Attributes:
        name: dotted name of the layer; "output" for the model's own.
        max_abs: `max |a − b|`.
        max_rel: `max |a − b| / max |a|`.
    """

    name: str
    max_abs: float
    max_rel: float


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        max_abs: of the outputs, `max |a − b|`.
        max_rel: of the outputs, `max |a − b| / max |a|`.
        tolerance: the max_rel up to which the models count as equal.
        first_departure: the first layer, in order of execution, beyond the tolerance; None if there is none.
        layers: every unit that both models have, in order of execution, and the output last.
    """

    max_abs: float
    max_rel: float
    tolerance: float
    first_departure: str | None
    layers: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether the outputs agree within the tolerance."""
        return self.max_rel <= self.tolerance

    def require(self) -> VerifyReport:
        """Itself, if ok.

        Raises:
            VerificationError: otherwise, naming the first layer that departs.
        """
        if not self.ok:
            raise VerificationError(str(self))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        verdict = (
            "same function" if self.ok else f"NOT the same function, first departs at {self.first_departure}"
        )
        return (
            f"{verdict}: max abs difference {self.max_abs:.3g}, relative {self.max_rel:.3g} "
            f"(tolerance {self.tolerance:.0e})"
        )


def _difference(name: str, ours: Any, theirs: Any) -> Difference:
    worst_abs = worst_rel = 0.0
    pairs = [[leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)] for out in (ours, theirs)]
    shapes = [[tuple(leaf.shape) for leaf in leaves] for leaves in pairs]
    if shapes[0] != shapes[1]:
        raise VerificationError(f"{name}: output shapes differ, {shapes[0]} and {shapes[1]}")
    for a, b in zip(*pairs, strict=True):
        if a.numel() == 0:
            continue
        # float64 lives on the host: not every device has it.
        a, b = (t.detach().to("cpu", torch.float64) for t in (a, b))
        if not (a.isfinite().all() and b.isfinite().all()):
            return Difference(name, float("inf"), float("inf"))
        gap = (a - b).abs().max().item()
        scale = a.abs().max().item()
        worst_abs = max(worst_abs, gap)
        worst_rel = max(worst_rel, gap / scale if scale else (float("inf") if gap else 0.0))
    return Difference(name, worst_abs, worst_rel)


@torch.no_grad()
def _run(model: nn.Module, x: Any) -> dict[str, Any]:
    """Outputs of every unit by name in order of execution, and of the model under "output"."""
    outputs: dict[str, Any] = {}
    handles = [
        module.register_forward_hook(lambda _m, _x, out, name=name: outputs.update({name: out}))
        for name, module in model.named_modules()
        if name and isinstance(module, MobileOneBlock | InferenceBlock)
    ]
    try:
        outputs["output"] = model(x)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _coarsest(*models: nn.Module) -> torch.dtype:
    dtypes = {p.dtype for m in models for p in m.parameters() if p.dtype in TOLERANCES}
    return max(dtypes or {torch.float32}, key=lambda dtype: TOLERANCES[dtype])


def verify(model: nn.Module, fused: nn.Module, x: Any, *, tolerance: float | None = None) -> VerifyReport:
    """Run both models on `x` and compare the outputs, and unit by unit on the way.

    What DataParallel, DistributedDataParallel, torch.compile and AveragedModel wrap is compared, not they.

    Args:
        model: the reference, in eval mode; any module with our blocks.
        fused: the other form of it, in eval mode; units are matched by name.
        x: input of both, (N, C, H, W) as a rule, on their device and in a dtype both take.
        tolerance: greatest `max |a − b| / max |a|` that counts as equal; None takes the one for the dtype.

    Raises:
        VerificationError: if a model is in training mode, output shapes differ, or there is nothing to
            compare.

    >>> from mobileone import create_model, reparameterize
    >>> model = create_model("mobileone_s1").eval()
    >>> verify(model, reparameterize(model), torch.randn(1, 3, 64, 64)).ok
    True
    """
    model, fused = unwrap(model), unwrap(fused)
    for which, candidate in (("model", model), ("fused", fused)):
        if candidate.training:
            raise VerificationError(f"cannot verify: {which} is in training mode; call {which}.eval() first")
    if tolerance is None:
        tolerance = TOLERANCES[_coarsest(model, fused)]
    with float32_products(tf32=False):  # convolutions on a GPU would round to 10 bits, and differ by 1e-3
        ours, theirs = _run(model, x), _run(fused, x)
    layers = tuple(_difference(name, ours[name], theirs[name]) for name in ours if name in theirs)
    if not any(leaf.numel() for leaf in tree_leaves(theirs["output"]) if isinstance(leaf, Tensor)):
        raise VerificationError("cannot verify: the models' output is empty; give x one image or more")
    departed = next((layer.name for layer in layers if not layer.max_rel <= tolerance), None)
    return VerifyReport(layers[-1].max_abs, layers[-1].max_rel, tolerance, departed, layers)


def reparameterize_verified(model: N) -> N:
    """`reparameterize`, and proof that the result computes what was given: two noise images of its size.

    Args:
        model: in train form and eval mode, on any device.

    Raises:
        ReparameterizeError: as `reparameterize`.
        VerificationError: if the fused network computes something else.
    """
    fused, like = reparameterize(model), next(model.parameters())
    x = torch.randn(
        2, model.in_chans, *sides(model.input_spec.size), generator=torch.Generator().manual_seed(0)
    )
    report = verify(model, fused, x.to(like.device, like.dtype))
    if not report.ok:
        raise VerificationError(f"fusing this {model.variant.name} changes what it computes: {report}")
    return fused
