"""`mobileone reparameterize`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from mobileone.cli.output import print_json
from mobileone.cli.target_file import refuse_existing
from mobileone.errors import ReparameterizeError
from mobileone.input_spec import sides


@dataclass(frozen=True, kw_only=True)
class Reparameterize:
    """Fuse a train-form model, prove that it computes the same, and write it.

    Example: mobileone reparameterize runs/s0 -o s0.safetensors
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL in train form."""
    output: Annotated[Path, arg(aliases=("-o",))]
    """File to write: .safetensors or .pt, or a folder."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
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
        model, card = load_with_card(self.model, weights_key=self.weights_key)
        if model.form == "inference":
            raise ReparameterizeError(f"nothing to reparameterize: {self.model} is in inference form already")
        fused = reparameterize(model)
        shape = (2, model.in_chans, *sides(model.input_spec.size))
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        report = verify(model, fused, x).require()
        written = save_model(fused, self.output, extra=card.metadata)
        if self.json:
            print_json({"output": str(written), "verify": report.to_dict()})
        else:
            print(f"{report}\nwrote {written}")
        return 0
