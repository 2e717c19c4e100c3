"""`mobileone info`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from mobileone.cli.output import megabytes, print_json
from mobileone.cli.words import INPUT_SIZE
from mobileone.decision import Decision
from mobileone.input_spec import Size, checked_size, size_text
from mobileone.report.aligned_table import aligned_table


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a model is and costs, without running it.

    Example: mobileone info mobileone_s0
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """MODEL, see mobileone --help."""
    input_size: Annotated[Size, INPUT_SIZE] | None = None
    """Side of a square input, or height and width such as 256x192, pixels. Default: the model's."""
    weights_key: str | None = None
    """Which weights of a file that has several, by their key (`mobileone info` names them). Default: averaged
    ones before raw ones."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        from mobileone.checkpoint.inspect import describe
        from mobileone.checkpoint.layouts import some
        from mobileone.profiling.cost import network_cost

        card = describe(self.model, weights_key=self.weights_key)
        size = card.input_spec.size if self.input_size is None else checked_size(self.input_size)
        costs = {
            form: network_cost(
                card.variant,
                input_size=size,
                form=form,
                num_classes=card.num_classes,
                in_chans=card.in_chans,
                output_stride=card.output_stride,
            )
            for form in ("train", "inference")
        }
        if self.json:
            costs_json = {form: cost.to_dict() for form, cost in costs.items()}
            print_json({**card.to_dict(), "cost": {"input_size": size, **costs_json}})
            return 0
        spec = card.input_spec
        others = f" (others: {', '.join(card.other_weights)})" if card.other_weights else ""
        facts = [("variant", card.variant.name), ("form", card.form), ("format", card.format)]
        facts += [("file", megabytes(card.size_bytes))] if card.size_bytes else []
        facts += [("weights", f"{card.weights_key}{others}")] if others else []
        facts += [("left out", some(card.beside))] if card.beside and not others else []
        facts += [
            ("classes", f"{card.num_classes}"),
            ("input", f"{card.in_chans} × {spec.height} × {spec.width}, {spec.view}"),
            ("mean, std", f"{spec.mean}, {spec.std}"),
        ]
        facts += [("stride", f"{card.output_stride}, by dilation")] if card.output_stride != 32 else []
        facts += [("decision", decision_text(card.decision))] if card.decision else []
        print("\n".join(f"{name:<10} {value}" for name, value in facts))
        rows = [
            [form, f"{cost.params:,}", f"{cost.macs / 1e6:,.2f}", f"{cost.flops / 1e9:.6f}"]
            for form, cost in costs.items()
        ]
        print()
        print(aligned_table(["form", "params", f"MMACs at {size_text(size)} px", "GFLOP"], rows))
        return 0


def decision_text(decision: Decision) -> str:
    """What makes an answer sure, in a line."""
    heat, least = decision.temperatures, decision.thresholds
    one = f"temperature {heat[0]:.3f}" if len(heat) == 1 else f"{len(heat)} temperatures and biases"
    sure = f"sure from {least[0]:.3f} on" if len(least) == 1 else f"{len(least)} thresholds"
    novelty = f", {decision.novelty} of {decision.novelty_limit:.3f} or more" if decision.novelty else ""
    return f"{one}, {sure}{novelty}"
