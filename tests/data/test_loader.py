"""Batches: order, determinism, splits over ranks, bad images, workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
import torch

from mobileone.data.augment import TrainTransform
from mobileone.data.auto_augment import AutoAugment
from mobileone.data.digits import load_digits
from mobileone.data.folder import find_images
from mobileone.data.loader import Batch, _is_from_a_dead_worker, default_workers, eval_loader, train_loader
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.images.decode import DecodedImage
from mobileone.images.eval_transform import EvalTransform

TRAIN = TrainTransform(size=16, policy=AutoAugment(0.5), erasing=0.3)
EVAL = EvalTransform(size=16, resize_size=18)


class Numbered:
    """Image i is grey i; some may be unreadable."""

    classes = ("even", "odd")

    def __init__(self, length, bad=()):
        self.length, self.bad = length, frozenset(bad)
        self.labels = torch.arange(length).numpy() % 2

    def __len__(self):
        return self.length

    def name(self, index):
        return f"numbered/{index}"

    def read(self, index):
        if index in self.bad:
            raise BadImageError(f"{self.name(index)}: it is broken")
        return DecodedImage(self.name(index), np.full((20, 20, 3), index, dtype=np.uint8))


def same(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.labels, other.labels)
        and torch.equal(one.indices, other.indices)
        and one.bad == other.bad
    )


def views(batches):
    """index → pixels."""
    return {
        index: pixels
        for batch in batches
        for index, pixels in zip(batch.indices.tolist(), batch.images, strict=True)
    }


# --- training


def test_batches_are_typed_and_labelled():
    source = Numbered(10)
    loader = train_loader(source, TrainTransform(size=16), batch_size=4, seed=0)
    batches = list(loader)
    assert len(loader) == len(batches) == 2
    for batch in batches:
        assert batch.images.shape == (4, 3, 16, 16)
        assert batch.images.dtype == torch.uint8
        assert batch.labels.dtype == batch.indices.dtype == torch.int64
        assert (batch.images == batch.indices.view(-1, 1, 1, 1)).all()
        assert torch.equal(batch.labels, batch.indices % 2)
        assert len(batch) == 4
        assert batch.bad == []


def test_an_epoch_is_a_permutation_and_the_next_is_another():
    loader = train_loader(Numbered(12), TRAIN, batch_size=4, seed=0)
    orders = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        orders.append([index for batch in loader for index in batch.indices.tolist()])
        assert sorted(orders[-1]) == list(range(12))
        assert orders[-1] != sorted(orders[-1])
    assert orders[0] != orders[1]
    other_seed = train_loader(Numbered(12), TRAIN, batch_size=4, seed=1)
    assert [index for batch in other_seed for index in batch.indices.tolist()] != orders[0]


def test_every_epoch_looks_different_and_repeats_exactly():
    loader = train_loader(load_digits("val"), TRAIN, batch_size=120, seed=5)
    first, again = views(loader), views(loader)
    loader.set_epoch(1)
    second = views(loader)
    assert all(torch.equal(first[index], again[index]) for index in range(360))
    assert sum(torch.equal(first[index], second[index]) for index in range(360)) < 36


def test_global_randomness_is_neither_used_nor_disturbed():
    loader = train_loader(Numbered(8), TRAIN, batch_size=4, seed=0)
    torch.manual_seed(1)
    first, after = list(loader), torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after)
    torch.manual_seed(2)
    assert all(map(same, first, loader))


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_every_step_without_overlap(world_size):
    source, total = load_digits("val"), 12
    alone = list(train_loader(source, TRAIN, batch_size=total, seed=3))
    shares = [
        list(
            train_loader(
                source, TRAIN, batch_size=total // world_size, seed=3, rank=rank, world_size=world_size
            )
        )
        for rank in range(world_size)
    ]
    assert {len(share) for share in shares} == {len(alone)} == {30}
    for step, together in enumerate(alone):
        parts = [share[step] for share in shares]
        assert [len(part) for part in parts] == [total // world_size] * world_size
        expected, got = views([together]), views(parts)
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[index], got[index]) for index in expected)


@pytest.mark.parametrize(
    ("images", "batch_size", "world_size", "steps", "sizes"),
    [(23, 4, 2, 2, {4}), (24, 4, 2, 3, {4}), (5, 8, 1, 1, {5}), (5, 8, 2, 1, {2, 3}), (3, 8, 3, 1, {1})],
)
def test_the_incomplete_step_is_dropped_unless_it_is_the_only_one(
    images, batch_size, world_size, steps, sizes
):
    seen = []
    for rank in range(world_size):
        loader = train_loader(
            Numbered(images), TRAIN, batch_size=batch_size, seed=0, rank=rank, world_size=world_size
        )
        batches = list(loader)
        assert len(batches) == len(loader) == steps
        assert {len(batch) for batch in batches} <= sizes
        seen += [index for batch in batches for index in batch.indices.tolist()]
    assert len(seen) == len(set(seen))
    assert len(seen) == min(images, steps * batch_size * world_size)


def test_fewer_images_than_ranks():
    with pytest.raises(DataError, match="2 training images for 3 ranks"):
        train_loader(Numbered(2), TRAIN, batch_size=1, seed=0, rank=0, world_size=3)


# --- evaluation


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("images", [1, 2, 3, 7, 12, 13])
def test_evaluation_sees_every_image_once(world_size, images):
    seen, lengths = Counter(), []
    for rank in range(world_size):
        loader = eval_loader(Numbered(images), EVAL, batch_size=2, rank=rank, world_size=world_size)
        batches = list(loader)
        assert len(batches) == len(loader)
        indices = [index for batch in batches for index in batch.indices.tolist()]
        assert indices == list(range(rank, images, world_size))
        seen.update(indices)
        lengths.append(len(indices))
    assert seen == Counter(range(images))
    assert max(lengths) - min(lengths) <= 1


def test_evaluation_with_workers_and_an_empty_rank():
    empty = eval_loader(Numbered(1), EVAL, batch_size=2, rank=1, world_size=2, num_workers=2)
    assert (len(empty), list(empty)) == (0, [])


# --- how many workers


@pytest.mark.parametrize(
    ("cores", "ranks", "wanted"), [(1, 1, 1), (2, 1, 2), (2, 4, 1), (32, 4, 8), (12, 4, 3), (64, 1, 8)]
)
def test_default_workers_are_the_ranks_share_of_the_cores(monkeypatch, cores, ranks, wanted):
    monkeypatch.setattr("mobileone.data.loader.num_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    assert default_workers() == wanted


def test_no_number_of_workers_is_the_default_one(monkeypatch):
    monkeypatch.setattr("mobileone.data.loader.default_workers", lambda: 1)
    loader = train_loader(Numbered(64), TRAIN, batch_size=4, seed=0, num_workers=None)
    assert loader.num_workers == 1


def test_default_workers_bring_no_warning_of_torch(recwarn):
    with closing(eval_loader(Numbered(64), EVAL, batch_size=4, num_workers=None)) as loader:
        next(iter(loader))
    assert [str(warning.message) for warning in recwarn] == []


# --- bad images


def test_training_skips_to_the_next_readable_image():
    loader = train_loader(Numbered(12, bad={3, 4, 11}), TRAIN, batch_size=12, seed=0, on_bad_image="skip")
    (batch,) = loader
    assert Counter(batch.indices.tolist()) == Counter([0, 1, 2, 5, 5, 5, 6, 7, 8, 9, 10, 0])
    assert torch.equal(batch.labels, batch.indices % 2)
    assert {(bad.path, bad.reason) for bad in batch.bad} == {
        (f"numbered/{index}", "it is broken") for index in (3, 4, 11)
    }


def test_training_stops_at_a_bad_image_by_default():
    loader = train_loader(Numbered(12, bad={5}), TRAIN, batch_size=4, seed=0)
    with pytest.raises(BadImageError, match=r"^numbered/5: it is broken$"):
        list(loader)


def test_skipping_gives_up_after_16_in_a_row():
    for bad, readable in ((range(16), True), (range(17), False)):
        loader = train_loader(Numbered(40, bad), TRAIN, batch_size=40, seed=0, on_bad_image="skip")
        if readable:
            assert min(next(iter(loader)).indices.tolist()) == 16
        else:
            with pytest.raises(BadImageError, match=r"^numbered/16: .*16 images before it") as caught:
                list(loader)
            assert "\n" not in str(caught.value)


def test_evaluation_leaves_bad_images_out():
    source = Numbered(7, bad={0, 1, 5})
    batches = list(eval_loader(source, EVAL, batch_size=2, on_bad_image="skip"))
    assert [batch.indices.tolist() for batch in batches] == [[], [2, 3], [4], [6]]
    assert batches[0].images.shape == (0, 3, 16, 16)
    assert batches[0].images.dtype == torch.uint8
    assert batches[0].labels.dtype == torch.int64
    assert [bad.path for batch in batches for bad in batch.bad] == [f"numbered/{i}" for i in (0, 1, 5)]
    with pytest.raises(BadImageError, match=r"^numbered/0: it is broken$"):
        list(eval_loader(source, EVAL, batch_size=2))


def test_bad_files_in_workers_are_one_line_in_this_process(flat_folder):
    files = sorted((flat_folder / "class1").iterdir())
    files[0].write_bytes(b"")
    files[1].write_bytes(files[2].read_bytes()[:-300])
    source = find_images(flat_folder, split="val")
    skipping = eval_loader(source, EVAL, batch_size=4, num_workers=1, on_bad_image="skip")
    batches = list(skipping)
    assert sum(map(len, batches)) == 11
    bad = {entry.path: entry.reason for batch in batches for entry in batch.bad}
    assert set(bad) == {str(files[0]), str(files[1])}
    assert bad[str(files[0])] == "the file is empty (0 bytes)"
    with pytest.raises(BadImageError) as caught:
        list(eval_loader(source, EVAL, batch_size=4, num_workers=1))
    assert str(caught.value) == f"{files[0]}: the file is empty (0 bytes)"


def test_a_file_that_vanished_is_a_bad_image(flat_folder):
    source = find_images(flat_folder, split="val")
    source.path(4).unlink()
    for num_workers in (0, 1):
        with pytest.raises(BadImageError, match=r"class0/12\.jpg: cannot be read \(No such file") as caught:
            list(eval_loader(source, EVAL, batch_size=4, num_workers=num_workers))
        assert str(caught.value).startswith(str(source.path(4)))


# --- workers


def test_workers_give_the_same_batches(flat_folder):
    source = find_images(flat_folder, split="val")
    alone = list(train_loader(source, TRAIN, batch_size=3, seed=2))
    shared = list(train_loader(source, TRAIN, batch_size=3, seed=2, num_workers=2))
    assert len(shared) == 4
    assert all(map(same, alone, shared))
    expected = list(eval_loader(source, EVAL, batch_size=3))
    assert all(map(same, expected, eval_loader(source, EVAL, batch_size=3, num_workers=1)))


def test_persistent_workers_follow_the_epoch(flat_folder):
    """A rising image size, from a function that cannot be pickled, without new processes."""
    source = find_images(flat_folder, split="val")
    asked = []

    def transform_for(epoch):
        asked.append(epoch)
        return TrainTransform(size=16 + 8 * epoch)

    loader = train_loader(source, transform_for, batch_size=4, seed=0, num_workers=2)
    before = set(multiprocessing.active_children())
    passes, workers = [], []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        passes.append(list(loader))
        workers.append({child.pid for child in set(multiprocessing.active_children()) - before})
    assert asked == [0, 1, 0]
    assert [batches[0].images.shape[-1] for batches in passes] == [16, 24, 16]
    assert all(map(same, passes[0], passes[2]))
    assert workers[0] == workers[1] == workers[2]
    assert len(workers[0]) == 2
    loader.close()
    assert not {child.pid for child in multiprocessing.active_children()} & workers[0]
    assert all(map(same, passes[0], loader))
    loader.close()


def test_a_pass_that_was_left_early_does_not_leak_into_the_next(flat_folder):
    source = find_images(flat_folder, split="val")
    loader = train_loader(source, TRAIN, batch_size=2, seed=0, num_workers=2)
    for _ in loader:
        break
    loader.set_epoch(1)
    fresh = train_loader(source, TRAIN, batch_size=2, seed=0)
    fresh.set_epoch(1)
    assert all(map(same, list(fresh), list(loader)))
    loader.close()


def test_a_dead_worker_is_one_line(flat_folder):
    source = find_images(flat_folder, split="val")
    before = set(multiprocessing.active_children())
    loader = eval_loader(source, EVAL, batch_size=1, num_workers=1)
    iterator = iter(loader)
    next(iterator)
    (worker,) = set(multiprocessing.active_children()) - before
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"^a data worker process died \(.*\); ") as caught:
        list(iterator)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed"), True),
        (RuntimeError("Pin memory thread exited unexpectedly"), True),
        (ConnectionResetError("Connection reset by peer"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("Caught ValueError in DataLoader worker process 0."), False),
    ],
)
def test_what_torch_reports_of_a_dead_worker_is_told_from_errors_in_one(error, dead):
    assert _is_from_a_dead_worker(error) is dead


ATTEMPTS = 15
INTERRUPTED = """
import multiprocessing, signal, sys
from mobileone.data.augment import TrainTransform
from mobileone.data.folder import find_images
from mobileone.data.loader import train_loader

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    source = find_images(sys.argv[1], split="val")
    loader = train_loader(source, TrainTransform(size=16), batch_size=2, seed=0, num_workers=1)
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        for batch in loader:
            if epoch == 0:
                print(multiprocessing.active_children()[0].pid, flush=True)
                epoch = 1
"""


@pytest.fixture
def loop(flat_folder, tmp_path):
    """A process that reads batches for ever, and its worker."""
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, script, flat_folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    worker = int(process.stdout.readline())
    yield process, worker
    if process.poll() is None or is_running(worker):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_an_interrupted_loop_ends_at_once_with_its_workers(loop):
    process, worker = loop
    stderr = interrupt(process)
    assert "KeyboardInterrupt" in stderr
    assert "DataLoader worker" not in stderr
    assert ends(worker)


def test_a_killed_loop_takes_its_workers_along(loop):
    process, worker = loop
    assert is_running(worker)
    process.kill()
    assert ends(worker)


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def interrupt(process):
    """What Ctrl-C in a terminal does, and what the process then says.

    Again where nothing happens: Python drops an interrupt that arrives while a finaliser runs, and with so
    few images one runs half of the time.
    """
    for attempt in range(ATTEMPTS):
        os.killpg(process.pid, signal.SIGINT)
        try:
            return process.communicate(timeout=6)[1]
        except subprocess.TimeoutExpired:
            if attempt == ATTEMPTS - 1:
                raise


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# --- arguments


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 0}, {"rank": 1}, {"rank": -1}, {"num_workers": -1}, {"on_bad_image": "ignore"}],
)
def test_arguments_are_checked(change):
    arguments = {"batch_size": 2, **change}
    with pytest.raises(ConfigError):
        eval_loader(Numbered(4), EVAL, **arguments)
    with pytest.raises(ConfigError):
        train_loader(Numbered(4), TRAIN, seed=0, **arguments)


def test_seeds_are_not_negative():
    with pytest.raises(ConfigError, match="seed must be 0 or more, got -1"):
        train_loader(Numbered(4), TRAIN, batch_size=2, seed=-1)


def test_pinning_without_an_accelerator_is_quiet():
    if torch.accelerator.is_available():
        pytest.skip("this machine has an accelerator")
    (batch,) = eval_loader(Numbered(2), EVAL, batch_size=2, pin_memory=True)
    assert not batch.images.is_pinned()


@pytest.mark.gpu
@pytest.mark.parametrize("num_workers", [0, 2])
def test_pinned_batches(flat_folder, num_workers):
    source = find_images(flat_folder, split="val")
    loader = eval_loader(source, EVAL, batch_size=4, num_workers=num_workers, pin_memory=True)
    for batch in loader:
        assert batch.images.is_pinned()
        assert batch.labels.is_pinned()
        assert batch.images.to("cuda", non_blocking=True).sum().item() == batch.images.sum().item()


# --- normalisation
