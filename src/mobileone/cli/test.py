"""`mobileone test`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mobileone.backends.table import Precision, backend_of
from mobileone.cli.output import print_json, result_line
from mobileone.errors import ConfigError

if TYPE_CHECKING:
    from mobileone.backends.artifact import Artifact
    from mobileone.model.network import MobileOne


def load_for_test(
    source: str,
    *,
    input_size: int | None = None,
    crop: float | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
) -> MobileOne | Artifact:
    """A model in inference form or an exported file; `input_size` and `crop` replace its input spec's."""
    from mobileone.inference.classifier import Network, load_classifier

    if backend_of(source) is not None and input_size is not None:
        raise ConfigError(f"{source} is exported for one size; export it with another --input-size instead")
    loaded = load_classifier(source, threads=threads, precision=precision)
    model = loaded.model if isinstance(loaded, Network) else loaded
    spec = model.input_spec
    model.input_spec = replace(
        spec, size=spec.size if input_size is None else input_size, crop=spec.crop if crop is None else crop
    )
    return model


@dataclass(frozen=True, kw_only=True)
class Test:
    """Accuracy of a model, in inference form, or of an exported file, on labelled images.

    Example: mobileone test mobileone_s0.apple_in1k --data IMAGENET
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help, or an exported file."""
    data: str
    """Folder with val/<class>/, or with class folders itself; shards; or `digits`."""
    input_size: int | None = None
    """Side of the square input, pixels. Default: the model's."""
    crop: float | None = None
    """Share of the resized short side that the centre crop keeps. Default: the model's."""
    batch_size: int = 64
    """Images at a time; does not change the result."""
    workers: int = 2
    """Loader processes."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; exported files run on the CPU."""
    threads: int | None = None
    """Threads of an exported file's runtime. Default: all cores that may be used."""
    precision: Precision | None = None
    """Arithmetic of an exported file's runtime. Default: the file's."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Stop at an image that cannot be decoded, or count it, name it and go on."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.backends.artifact import Artifact
        from mobileone.evaluation.evaluate import evaluate
        from mobileone.ranks.distributed import distributed

        model = load_for_test(
            self.model,
            input_size=self.input_size,
            crop=self.crop,
            threads=self.threads,
            precision=self.precision,
        )
        exported = backend_of(self.model) is not None
        if exported and self.device not in ("auto", "cpu"):
            raise ConfigError(f"{self.model} runs on the CPU; drop --device {self.device}")
        with distributed("cpu" if exported else self.device) as ranks:
            result = evaluate(
                model,
                self.data,
                batch_size=self.batch_size,
                num_workers=self.workers,
                device=ranks.device,
                on_bad_image=self.on_bad_image,
                dist=ranks,
            )
            if not ranks.is_main:
                return 0
        for path in result.skipped:
            print(f"skipped: {path}", file=sys.stderr)
        spec = model.input_spec
        runs = str(model) if isinstance(model, Artifact) else "fused"
        print(f"{runs}; {spec.size} px, crop {spec.crop}, {spec.interpolation}", file=sys.stderr)
        if self.json:
            print_json(
                {
                    "model": self.model,
                    "data": self.data,
                    "form": "inference",
                    "runs": runs,
                    "input_spec": spec.to_dict(),
                    **result.to_dict(),
                }
            )
        else:
            print(result_line(result))
        return 0
