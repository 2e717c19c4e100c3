"""`mobileone info`, `weights`, `reparameterize` and `convert`: models and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.atomic import refuse_existing
from mobileone.cli.output import megabytes, print_json, table
from mobileone.errors import ReparameterizeError
from mobileone.variants import Form


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a model is and costs, without running it.

    Example: mobileone info mobileone_s0
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help."""
    input_size: int | None = None
    """Side of the square input that the cost is for, pixels. Default: the model's."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.checkpoint.inspect import describe
        from mobileone.profiling.cost import network_cost

        card = describe(self.model)
        size = self.input_size or card.input_spec.size
        costs = {
            form: network_cost(
                card.variant, input_size=size, form=form, num_classes=card.num_classes, in_chans=card.in_chans
            )
            for form in ("train", "inference")
        }
        if self.json:
            costs_json = {form: cost.to_dict() for form, cost in costs.items()}
            print_json({**card.to_dict(), "cost": {"input_size": size, **costs_json}})
            return 0
        spec = card.input_spec
        facts = [("variant", card.variant.name), ("form", card.form), ("format", card.format)]
        facts += [("file", megabytes(card.size_bytes))] if card.size_bytes else []
        facts += [
            ("classes", f"{card.num_classes}"),
            ("input", f"{card.in_chans} × {spec.size} × {spec.size}, crop {spec.crop}, {spec.interpolation}"),
            ("mean, std", f"{spec.mean}, {spec.std}"),
        ]
        print("\n".join(f"{name:<10} {value}" for name, value in facts))
        rows = [
            [form, f"{cost.params:,}", f"{cost.macs / 1e6:,.2f}", f"{cost.flops / 1e9:.6f}"]
            for form, cost in costs.items()
        ]
        print()
        print(table(["form", "params", f"MMACs at {size} px", "GFLOP"], rows))
        return 0


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The published weights that can be named as MODEL."""

    json: bool = False
    """Print the list as JSON."""

    def run(self) -> int:
        from mobileone.checkpoint.published import PUBLISHED

        entries = list(PUBLISHED.values())
        if self.json:
            print_json([entry.to_dict() for entry in entries])
            return 0
        rows = [
            [e.name, e.form, _percent(e.top1), _percent(e.top5), f"{e.input_spec.crop}", e.licence, e.source]
            for e in entries
        ]
        print(table(["name", "form", "top-1", "top-5", "crop", "licence", "source"], rows))
        print("\nTop-1 and top-5 on ImageNet-1k at 224 px as their publishers state them, in percent.")
        return 0


@dataclass(frozen=True, kw_only=True)
class Reparameterize:
    """Fuse a train-form model, prove that it computes the same, and write it.

    Example: mobileone reparameterize runs/s0 -o s0.safetensors
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL in train form."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """File to write: .safetensors or .pt, or a folder."""
    force: bool = False
    """Overwrite an existing file."""
    json: bool = False
    """Print the report as JSON."""

    def run(self) -> int:
        import torch

        from mobileone.checkpoint.load import load_with_card
        from mobileone.checkpoint.store import save_model
        from mobileone.reparam.fuse import reparameterize
        from mobileone.reparam.verify import verify

        refuse_existing(self.output, force=self.force)
        model, card = load_with_card(self.model)
        if model.form == "inference":
            raise ReparameterizeError(f"nothing to reparameterize: {self.model} is in inference form already")
        fused = reparameterize(model)
        size = model.input_spec.size
        x = torch.randn(2, model.in_chans, size, size, generator=torch.Generator().manual_seed(0))
        report = verify(model, fused, x).require()
        written = save_model(fused, self.output, extra=card.metadata)
        if self.json:
            print_json({"output": str(written), "verify": report.to_dict()})
        else:
            print(f"{report}\nwrote {written}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a model in another project's format, every key accounted for.

    Example: mobileone convert mobileone_s0.pth.tar -o s0.safetensors --to timm
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL to read."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """File to write; .safetensors for timm, .pth (or .pt, .pth.tar) for any."""
    to: Literal["timm", "apple", "mmpretrain", "reference"] = "timm"
    """Whose names and file layout."""
    form: Form | None = None
    """Fuse or expand on the way. Default: as it is."""
    force: bool = False
    """Overwrite an existing file."""

    def run(self) -> int:
        from mobileone.checkpoint.convert import convert

        refuse_existing(self.output, force=self.force)
        written = convert(self.model, self.output, to=self.to, form=self.form)
        print(f"wrote {written} in {self.to}'s format")
        return 0


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
