"""`mobileone train`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from mobileone.cli.output import print_json, result_line


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network; under torchrun, on several ranks.

    Example: mobileone train --data DIR --recipe paper_s0 --run-dir runs/s0
    """

    data: str | None = None
    """Folder with train/<class>/ and val/<class>/, or `digits` (built in). Default: the recipe's."""
    recipe: str = "digits"
    """reference, paper_s0 … paper_s4, digits or finetune."""
    run_dir: Path | None = None
    """Folder for everything the run writes. Default: runs/RECIPE."""
    init: str | None = None
    """MODEL to start from instead of random weights."""
    device: str | None = None
    """auto, cpu, cuda or cuda:N. Default: the recipe's, which is auto."""
    set: Annotated[tuple[str, ...], arg(metavar="FIELD=VALUE ...")] = ()
    """Any field of the recipe, such as epochs=10 batch_size=64; an unknown name prints the nearest."""
    resume: bool = False
    """Go on after the last finished epoch of --run-dir, with the configuration it was started with."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.train.loop import fit
        from mobileone.train.recipe import override, recipe
        from mobileone.train.run_dir import RunDir

        run_dir = self.run_dir or Path("runs") / self.recipe
        config = RunDir(run_dir).read_config() if self.resume else recipe(self.recipe)
        if self.data is not None:
            config = replace(config, data=self.data)
        if self.init is not None:
            config = replace(config, init=self.init)
        if self.device is not None:
            config = replace(config, device=self.device)
        result = fit(override(config, self.set), run_dir=run_dir, resume=self.resume)
        if int(os.environ.get("RANK", "0")) > 0:  # the main rank speaks for all
            return 0
        if self.json:
            print_json(result.to_dict())
        else:
            print(result_line(result.last))
            print(f"best epoch {result.best_epoch}: acc@1 {result.best_acc1:.2f}", file=sys.stderr)
            print(f"everything is in {result.run_dir}", file=sys.stderr)
        return 0
