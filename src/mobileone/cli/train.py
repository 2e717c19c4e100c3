"""`mobileone train`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from mobileone.cli.output import print_json, result_line

# `--resume` alone is "yes".
RESUME = PrimitiveConstructorSpec(
    nargs=(0, 1),
    metavar="[auto]",
    instance_from_str=lambda words: _resume(words),
    is_instance=lambda value: value in ("no", "yes", "auto"),
    str_from_instance=lambda value: [value],
)


def _resume(words: list[str]) -> str:
    if words and words != ["auto"]:
        raise ValueError(f"--resume takes nothing or auto, got {words[0]}")
    return "auto" if words else "yes"


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network; under torchrun, on several ranks.

    Example: mobileone train --data DIR --recipe paper_s0 --run-dir runs/s0
    """

    data: str | None = None
    """Folder with train/<class>/ and val/<class>/, shards ('DIR/train-{000000..000007}.tar', a URL or a
    pipe), or `digits` (built in). Default: the recipe's."""
    recipe: str = "digits"
    """reference, paper_s0 … paper_s4, digits or finetune."""
    run_dir: Path | None = None
    """Folder for everything the run writes. Default: runs/RECIPE."""
    init: str | None = None
    """MODEL to start from instead of random weights."""
    device: str | None = None
    """auto, cpu, cuda or cuda:N. Default: the recipe's, which is auto."""
    on_bad_image: Literal["error", "skip"] | None = None
    """Stop at an image that cannot be decoded, or name it and go on. Default: the recipe's (error)."""
    set: Annotated[tuple[str, ...], arg(metavar="FIELD=VALUE ...")] = ()
    """Any field of the recipe, such as epochs=10 batch_size=64; an unknown name prints the nearest."""
    checkpoint_every: str | None = None
    """Between checkpoints within an epoch: 1000s, 500steps or none. Default: the recipe's, which is 1000s."""
    resume: Annotated[Literal["no", "yes", "auto"], RESUME] = "no"
    """Go on with the run in --run-dir from its newest checkpoint, with the configuration it was started with;
    `--resume auto` starts one if there is none."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.train.loop import fit
        from mobileone.train.recipe import override, recipe
        from mobileone.train.run_dir import RunDir

        run_dir = self.run_dir or Path("runs") / self.recipe
        stored = RunDir(run_dir)
        resume = {"no": False, "yes": True, "auto": stored.config.exists()}[self.resume]
        config = stored.read_config() if resume else recipe(self.recipe)
        if self.data is not None:
            config = replace(config, data=self.data)
        if self.init is not None:
            config = replace(config, init=self.init)
        if self.device is not None:
            config = replace(config, device=self.device)
        if self.on_bad_image is not None:
            config = replace(config, on_bad_image=self.on_bad_image)
        if self.checkpoint_every is not None:
            config = replace(config, checkpoint_every=self.checkpoint_every)
        result = fit(override(config, self.set), run_dir=run_dir, resume=resume)
        if int(os.environ.get("RANK", "0")) > 0:  # the main rank speaks for all
            return 0
        if self.json:
            print_json(result.to_dict())
        else:
            print(result_line(result.last))
            print(f"best epoch {result.best_epoch}: acc@1 {result.best_acc1:.2f}", file=sys.stderr)
            print(f"everything is in {result.run_dir}", file=sys.stderr)
        return 0
