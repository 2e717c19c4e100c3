"""The part of a generated network that says how logits become an answer; calibrating writes it anew."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mobileone.decision import Decision
from mobileone.errors import ArtifactError

BEGIN, END = "/* decision: begin */", "/* decision: end */"
NOVELTY = {None: 0, "energy": 1, "max_logit": 2}


def decision_block(decision: Decision | None) -> str:
    """Constants for templates/decide.c; without a decision those of the plain probabilities, always sure.

    >>> print(decision_block(Decision(temperatures=(1.5,), thresholds=(0.5, 0.25))))
    /* decision: begin */
    #define IS_CALIBRATED 1
    #define NOVELTY_SCORE 0
    #define NOVELTY_LIMIT 0.0
    #if NUM_CLASSES
    static const double temperatures[] = {1.5};
    static const double biases[] = {0.0};
    static const double thresholds[] = {0.5, 0.25};
    #endif
    /* decision: end */
    """
    rule = decision or Decision()
    return "\n".join(
        [
            BEGIN,
            f"#define IS_CALIBRATED {int(decision is not None)}",
            f"#define NOVELTY_SCORE {NOVELTY[rule.novelty]}",
            f"#define NOVELTY_LIMIT {float(rule.novelty_limit or 0.0)!r}",
            "#if NUM_CLASSES",
            _array("temperatures", rule.temperatures),
            _array("biases", rule.biases),
            _array("thresholds", rule.thresholds),
            "#endif",
            END,
        ]
    )


def decided_code(code: str, decision: Decision | None) -> str:
    """The code of a generated network with another decision.

    Raises:
        ArtifactError: if it has no place for one, as what earlier versions wrote.
    """
    if code.count(BEGIN) != 1 or code.count(END) != 1:
        raise ArtifactError(
            "this C code has no place for a decision, an earlier version wrote it; quantize again"
        )
    return re.sub(
        rf"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: decision_block(decision), code, flags=re.DOTALL
    )


def _array(name: str, values: Sequence[float]) -> str:
    return f"static const double {name}[] = {{{', '.join(repr(float(value)) for value in values)}}};"
