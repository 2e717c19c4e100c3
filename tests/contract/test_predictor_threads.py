"""One predictor shared by many threads, as servers do: every answer is the one it would give alone."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mobileone.backends.export_options import ExportOptions
from mobileone.backends.table import BACKENDS, writing
from mobileone.backends.writer import find_writer
from mobileone.errors import ConfigError
from mobileone.exporting.export import export
from mobileone.exporting.parity import seeded_pictures
from mobileone.inference.predictor import Predictor
from mobileone.model.create import create_model
from mobileone.quantization.quantize import quantize

THREADS, ROUNDS = 4, 60
RUNNING = [kind.name for kind in BACKENDS.values() if "fp32" in kind.executes and "fp32" in kind.writes]
SLOW = {("executorch", "int8")}  # lowering takes seconds
FILES = [
    pytest.param(name, precision, marks=[pytest.mark.slow] * ((name, precision) in SLOW))
    for precision, names in (("fp32", RUNNING), ("int8", writing("int8")))
    for name in names
]


@pytest.fixture(autouse=True)
def _eager_switching():
    """Threads take turns a thousand times as often, so that a race needs no luck."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


def wrong_answers(predictor, sizes):
    """How many of the answers that threads get differ from those given one after another."""
    pictures = [
        seeded_pictures(predictor.classifier.input_spec, number=2 + size, seed=seed)[1:-1]
        for seed, size in enumerate(sizes)
    ]
    wanted = [predictor.probabilities(list(batch)) for batch in pictures]
    # Two may fall together where an average is rounded to eight bits; more would hide answers mixed up.
    assert len({tuple(row) for each in wanted for row in each.tolist()}) >= sum(sizes) - 1

    def ask(number):
        which = number % len(pictures)
        return np.array_equal(predictor.probabilities(list(pictures[which])), wanted[which])

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(ask, range(THREADS * ROUNDS))).count(False)


@pytest.mark.parametrize(("name", "precision"), FILES)
def test_threads_share_a_predictor(needs_backend, small_network, small_pictures, tmp_path, name, precision):
    needs_backend(name)
    path, sizes = tmp_path / f"net{BACKENDS[name].suffix}", [1] * 6
    if precision == "int8":
        quantize(small_network, path, images=small_pictures, format=name)
    else:
        try:
            find_writer(name).check(ExportOptions(batch=None))
            sizes = [1, 3, 1, 2, 1, 3]
        except ConfigError:  # one image at a time
            pass
        export(small_network, path, format=name, dynamic_batch=len(set(sizes)) > 1)
    assert wrong_answers(Predictor.load(path, threads=1), sizes) == 0


def test_threads_share_a_predictor_in_pytorch(tiny):
    model = create_model(tiny, num_classes=7).eval()
    model.set_input_size(32)
    assert wrong_answers(Predictor(model), [1, 3, 1, 2, 1, 3]) == 0
