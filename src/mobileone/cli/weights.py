"""`mobileone weights`."""

from __future__ import annotations

from dataclasses import dataclass

from mobileone.cli.output import print_json
from mobileone.report.aligned_table import aligned_table


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
        print(aligned_table(["name", "form", "top-1", "top-5", "crop", "licence", "source"], rows))
        print("\nTop-1 and top-5 on ImageNet-1k at 224 px as their publishers state them, in percent.")
        return 0


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
