"""The global random generators, kept and set back."""

import random

import numpy as np
import torch

from mobileone.checkpoint.store import load_state, save_state
from mobileone.training.run.random_state import random_state, seed_everything, set_random_state


def draw() -> tuple[float, float, float]:
    return torch.rand(()).item(), random.random(), float(np.random.normal())


def test_every_generator_goes_on_where_it_was_also_through_a_file(tmp_path) -> None:
    seed_everything(3)
    draw()  # NumPy keeps half a pair of normal numbers
    path = save_state({"random": random_state()}, tmp_path / "state.pt")
    wanted = draw()
    assert draw() != wanted
    set_random_state(load_state(path)["random"])
    assert draw() == wanted


def test_a_seed_is_a_start_for_all_of_them() -> None:
    starts = []
    for seed in (1, 1, 2**40 + 2):  # NumPy takes no more than 32 bits
        seed_everything(seed)
        starts.append(draw())
    assert starts[0] == starts[1]
    assert all(a != b for a, b in zip(starts[0][:2], starts[2][:2], strict=True))
