"""The decision of a C file: written, written anew, and the same as in Python."""

from dataclasses import replace

import numpy as np
import pytest

from mobileone.backends.c.decision_block import decided_code, decision_block
from mobileone.backends.c.generator import generate
from mobileone.decision import Decision
from mobileone.errors import ArtifactError


@pytest.fixture(scope="module")
def decided(make_network, compile_source):
    """`decided(decision)`: a compiled network of seven classes that has it."""

    def build(decision, task="singlelabel"):
        quantized = make_network((16, 16, 16, 16), num_classes=7)
        source = generate(replace(quantized, layers=replace(quantized.layers, task=task)))
        return compile_source(replace(source, code=decided_code(source.code, decision)))

    return build


@pytest.fixture
def logits():
    rows = np.random.default_rng(0).normal(scale=5, size=(300, 7)).astype(np.float32)
    rows[0], rows[1], rows[2] = 0, (1000, -1000, 0, 0, 0, 0, 0), (-1000, -1000.5, -999, -1800, 0, 0, 0)
    return rows


SPREAD = tuple(np.linspace(0.5, 2, 7).tolist())


@pytest.mark.parametrize(
    "decision",
    [
        None,
        Decision(temperatures=(1.7,), thresholds=(0.6,)),
        Decision(
            temperatures=SPREAD, biases=tuple(-x for x in SPREAD), thresholds=tuple(x / 3 for x in SPREAD)
        ),
        Decision(thresholds=(0.4,), novelty="energy", novelty_limit=7.5),
        Decision(temperatures=(0.5,), novelty="max_logit", novelty_limit=6.25),
    ],
)
def test_c_decides_as_python_does(decided, logits, decision):
    network = decided(decision)
    assert network.is_calibrated == (decision is not None)
    rule = decision or Decision()
    probabilities, best, doubts = network.decide(logits)
    np.testing.assert_allclose(probabilities, rule.probabilities(logits), rtol=1e-13, atol=1e-300)
    assert best.tolist() == rule.probabilities(logits).argmax(1).tolist()
    assert doubts == rule.doubts(logits)
    assert decision is None or len(set(doubts)) > 1
    assert [network.threshold(c) for c in (0, 6)] == [rule.thresholds[0], rule.thresholds[-1]]
    assert network.threshold(7) == 0


def test_of_a_multi_label_network_every_label_has_a_probability(decided, logits):
    decision = Decision(temperatures=SPREAD, thresholds=(0.3,))
    probabilities, _, doubts = decided(decision, "multilabel").decide(logits)
    expected = decision.probabilities(logits, task="multilabel")
    np.testing.assert_allclose(probabilities, expected, rtol=1e-13, atol=1e-300)
    assert doubts == [None] * len(logits)


def test_the_block_is_written_anew_and_nothing_else(little):
    code = generate(little).code
    changed = decided_code(code, Decision(temperatures=(2.0,)))
    assert decision_block(Decision(temperatures=(2.0,))) in changed
    assert decided_code(changed, None) == code


def test_code_without_a_place_for_it_is_refused():
    with pytest.raises(ArtifactError, match=r"no place for a decision.*quantize again"):
        decided_code("int main(void);", None)
