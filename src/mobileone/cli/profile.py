"""`mobileone profile`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from mobileone.cli.output import print_json
from mobileone.cli.target_file import require_drawing
from mobileone.cli.words import INPUT_SIZE
from mobileone.errors import ConfigError
from mobileone.input_spec import Size, checked_size, sides
from mobileone.variants import Form

if TYPE_CHECKING:
    from mobileone.profiling.profile import ProfileSubject


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a network costs, operator by operator: time measured, operations and memory counted.

    Example: mobileone profile mobileone_s0
    """

    model: Annotated[Positional[str | None], arg(metavar="MODEL")] = None
    """MODEL, see mobileone --help, or an .onnx file."""
    compare: Annotated[tuple[str, str] | None, arg(metavar="A B")] = None
    """Two models side by side instead; :train or :inference behind a name chooses its form."""
    by: Literal["operator", "layer", "stage"] = "operator"
    """What a line of the report is: an operator type (the format of Caffe2's report), a layer or a stage."""
    form: Form | None = None
    """Structure to profile, with branches or fused. Default: inference."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels. Default: the model's."""
    batch_size: int | None = None
    """Images at a time. Default: 1."""
    clock: Literal["onnxruntime", "torch"] | None = None
    """Runtime that executes and times the operators. Default: onnxruntime on cpu, torch elsewhere."""
    optimized: bool = False
    """Let ONNX Runtime merge operators as it does when deployed."""
    convention: Literal["caffe2", "fvcore", "macs"] = "caffe2"
    """How operations are counted; docs/cost.md tells the three apart."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int | None = None
    """Threads of the runtime. Default: all cores that may be used."""
    runs: int = 100
    """Timed runs, after 10 of warm-up."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    json: bool = False
    """Print everything as JSON."""
    html: Path | None = None
    """Write everything as one page: tables, charts, roofline."""
    png: Path | None = None
    """Write the roofline plot."""

    def run(self) -> int:
        from mobileone.profiling.profile import compare, profile

        for path, suffix in ((self.png, ".png"), (self.html, ".html")):
            if path is not None:
                require_drawing(path, suffix)
        if (self.model is None) == (self.compare is None):
            raise ConfigError("give one MODEL, or two with --compare A B")
        options: dict[str, Any] = {
            "clock": self.clock,
            "optimized": self.optimized,
            "convention": self.convention,
            "threads": self.threads,
            "runs": self.runs,
            "roofline": self.json or self.by != "operator" or bool(self.html or self.png),
        }
        if self.runs < 1:  # before any model is built
            raise ConfigError(f"runs must be at least 1, got {self.runs}")
        if self.compare is not None:
            first, second = (self._subject(source) for source in self.compare)
            self._show(compare(first, second, **options))
        else:
            assert self.model is not None
            subject = self._subject(self.model)
            self._show(profile(subject.model, subject.x, name=subject.name, **options))
        return 0

    def _show(self, result: Any) -> None:
        from mobileone.profiling.comparison import ProfileComparison
        from mobileone.profiling.profile_report import profile_report

        profiles = [result.first, result.second] if isinstance(result, ProfileComparison) else [result]
        if self.html is not None:
            from mobileone.profiling.profile_page import write_page

            print(f"wrote {write_page(result, self.html)}", file=sys.stderr)
        if self.png is not None:
            from mobileone.profiling.roofline_plot import write_roofline

            print(f"wrote {write_roofline(profiles, self.png)}", file=sys.stderr)
        if self.json:
            print_json(result.to_dict())
        else:
            print(profile_report(result, self.by))

    def _subject(self, source: str) -> ProfileSubject:
        from mobileone.profiling.profile import ProfileSubject

        if source.endswith(".onnx"):
            given = [
                name
                for name in ("form", "input_size", "batch_size", "weights_key")
                if getattr(self, name) is not None
            ]
            if given:
                raise ConfigError(f"{source} is profiled as it is; drop --{given[0].replace('_', '-')}")
            if self.device != "cpu":
                raise ConfigError(f"{source} runs on the CPU, by ONNX Runtime; drop --device {self.device}")
            return ProfileSubject(source)
        return self._built(source)

    def _built(self, source: str) -> ProfileSubject:
        import torch

        from mobileone.checkpoint.load import load_model
        from mobileone.profiling.profile import ProfileSubject

        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}")
        device = usable_device(self.device)
        name, form = split_form(source)
        chosen = form or self.form or "inference"
        model = load_model(name, form=chosen, weights_key=self.weights_key).to(device)
        size = sides(model.input_spec.size if self.input_size is None else checked_size(self.input_size))
        noise = torch.Generator().manual_seed(0)
        x = torch.randn(self.batch_size or 1, model.in_chans, *size, generator=noise)
        return ProfileSubject(model, x.to(device), name=f"{name}:{chosen}")


def split_form(source: str) -> tuple[str, Form | None]:
    """`mobileone_s0:train` is a source and a form.

    >>> split_form("mobileone_s0:train"), split_form("hf-hub:owner/name")
    (('mobileone_s0', 'train'), ('hf-hub:owner/name', None))
    """
    name, _, form = source.rpartition(":")
    if name and form == "train":
        return name, "train"
    if name and form == "inference":
        return name, "inference"
    return source, None


def usable_device(name: str) -> Any:
    """The device of that name.

    Raises:
        ConfigError: if there is no such device here.
    """
    import torch

    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        present = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise ConfigError(f"device {name} is not there; PyTorch sees {', '.join(present)}") from error
    return device
