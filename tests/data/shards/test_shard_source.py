"""Shards as an image source: the folder again, in every notation; orders; and what is refused."""

import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

from mobileone.data.augment import TrainTransform
from mobileone.data.folder import find_images
from mobileone.data.loader import eval_loader, train_loader
from mobileone.data.open import open_data, open_validation
from mobileone.data.requests import seeded_generator
from mobileone.data.shards.index import ShardIndex
from mobileone.data.shards.shard_source import LANES, RemoteShards, open_shards
from mobileone.data.source import StreamedSource
from mobileone.errors import BadImageError, DataError
from mobileone.images.eval_transform import EvalTransform

TRAIN, EVAL = TrainTransform(size=16), EvalTransform(size=16, resize_size=18)


def all_batches(loader):
    with_close = list(loader)
    loader.close()
    return with_close


@pytest.fixture
def copied(written, tmp_path):
    """Shards to do harm to."""
    return shutil.copytree(written, tmp_path / "copied")


@pytest.mark.parametrize("suffix", ["json", "tar"])
def test_a_fifo_in_place_of_a_shard_is_refused_at_once(suffix, copied, no_hang):
    path = copied / f"val-000001.{suffix}"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"a pipe|has 0 bytes"):
        open_shards(copied, split="val")


def test_a_shard_that_becomes_a_fifo_is_refused_at_once(copied, no_hang):
    source = open_shards(copied, split="val")
    for path in copied.glob("val-*.tar"):
        path.unlink()
        os.mkfifo(path)
    with pytest.raises(DataError, match="no regular file but a pipe"):
        source.read(0)


def test_hostile_numbers_of_shards_take_no_memory(copied, no_hang):
    for number, path in enumerate(sorted(copied.glob("val-*.json"))):
        values = json.loads(path.read_text()) | {"shards": {}, "number": number * 10**15}
        path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"has a gap: val-000001\.tar"):
        open_shards(f"{copied}/val-{{000000..000001}}.tar", split="val")


def test_an_index_over_the_limits_is_not_read(copied, monkeypatch):
    monkeypatch.setenv("MOBILEONE_MAX_JSON_BYTES", "100")
    with pytest.raises(DataError, match="larger than 100"):
        open_shards(copied, split="val")


def test_local_shards_are_the_folder_again(photo_folder, written, monkeypatch):
    monkeypatch.chdir(written.parent)
    for split in ("train", "val"):
        folder = find_images(photo_folder, split=split)
        last = {"train": 4, "val": 1}[split]
        for data in (written, f"shards/{split}-{{000000..00000{last}}}.tar"):
            source = open_data(data, split=split)
            assert not isinstance(source, StreamedSource)
            assert source.classes == folder.classes
            assert np.array_equal(source.labels, folder.labels)
            assert [source.read(i).data for i in range(len(source))] == [
                folder.read(i).data for i in range(len(folder))
            ]
            assert source.name(3).endswith(f".tar: {folder.files[3]}")
            assert source.name(3).startswith(str(written))


@pytest.mark.parametrize("split", ["train", "val"])
def test_what_is_named_is_what_is_taken(written, split):
    """Asked for training images, `val-….tar` gave the train shards beside it."""
    train = open_data(f"{written}/train-{{000000..000004}}.tar", split=split)
    val = open_data(f"{written}/val-{{000000..000001}}.tar", split=split)
    assert (train.split, len(train), val.split, len(val)) == ("train", 40, "val", 11)


def test_validation_shards_are_found_beside_training_shards(written):
    for data in (written, f"{written}/train-{{000000..000004}}.tar", f"pipe:cat {written}/train-000000.tar"):
        assert (open_validation(data).split, len(open_validation(data))) == ("val", 11)
    named = open_validation(f"{written}/train-000000.tar", f"{written}/val-000001.tar")
    assert (named.split, len(named)) == ("val", 5)


def test_an_epoch_from_shards_is_the_folders_to_the_last_bit(photo_folder, written):
    """With workers, from the middle, on a rank of two: position and order mean the same."""

    def epoch(source, workers):
        loader = train_loader(source, TRAIN, batch_size=4, seed=3, rank=1, world_size=2, num_workers=workers)
        loader.set_epoch(2, start=2)
        return all_batches(loader)

    folder = epoch(find_images(photo_folder, split="train"), 0)
    shards = epoch(open_shards(written, split="train"), 2)
    assert len(folder) == len(shards) == 3
    for one, other in zip(folder, shards, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.labels, other.labels)


def test_a_pickled_source_reads_on(written):
    source = open_shards(written, split="val")
    source.read(0)
    again = pickle.loads(pickle.dumps(source))
    assert again.read(5).data == source.read(5).data


def test_threads_that_open_a_shard_at_once_keep_one_descriptor(written, monkeypatch):
    """The others leaked."""
    source = open_shards(f"{written}/val-000000.tar", split="val")
    together, opened, closed = Barrier(4), [], []
    open_file, close = source._open_file, os.close

    def slowly(shard):
        together.wait(10)
        opened.append(open_file(shard))
        return opened[-1]

    monkeypatch.setattr(source, "_open_file", slowly)
    monkeypatch.setattr(os, "close", lambda descriptor: (closed.append(descriptor), close(descriptor)))
    with ThreadPoolExecutor(4) as pool:
        read = [image.data for image in pool.map(source.read, [0] * 4)]
    assert len(set(read)) == 1
    assert set(opened) - set(closed) == set(source._open_files.values())


# --- from elsewhere


def remote(written, split="train"):
    return open_shards(f"pipe:cat {written}/train-{{000000..000004}}.tar", split=split, beside=True)


def test_piped_and_http_shards_are_the_same_images(written, cache, server):
    local = open_shards(written, split="train")
    for source in (remote(written), open_shards(f"{server}/train-{{000000..000004}}.tar", split="train")):
        assert isinstance(source, StreamedSource)
        assert np.array_equal(source.labels, local.labels)
        assert all(source.read(i).data == local.read(i).data for i in range(0, 40, 7))
    assert 1 < len(list(cache.glob("*.tar"))) <= 5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_streamed_epoch_is_exact_and_goes_on_in_the_middle(written, cache, workers):
    def epoch(number, start=0, workers=0, rank=0, world_size=1):
        loader = train_loader(
            remote(written),
            TRAIN,
            batch_size=8 // world_size,
            seed=1,
            num_workers=workers,
            rank=rank,
            world_size=world_size,
        )
        loader.set_epoch(number, start=start)
        return all_batches(loader)

    whole = epoch(0)
    assert sorted(i for batch in whole for i in batch.indices.tolist()) == list(range(40))
    rest = epoch(0, start=3, workers=workers)
    assert len(rest) == 2
    assert all(torch.equal(a.images, b.images) for a, b in zip(whole[3:], rest, strict=True))
    shares = [epoch(0, rank=rank, world_size=2) for rank in range(2)]
    for together, one, other in zip(whole, *shares, strict=True):
        assert torch.equal(together.indices[0::2], one.indices)
        assert torch.equal(together.indices[1::2], other.indices)
    assert [b.indices.tolist() for b in epoch(1)] != [b.indices.tolist() for b in whole]


def test_evaluation_sees_every_image_once_over_the_ranks(written, cache):
    seen = [
        index
        for rank in range(3)
        for batch in eval_loader(remote(written, "val"), EVAL, batch_size=2, rank=rank, world_size=3)
        for index in batch.indices.tolist()
    ]
    assert sorted(seen) == list(range(11))


def many_shards(num_shards, per_shard):
    """Shards without files, for their order."""
    indexes = []
    for number in range(num_shards):
        ids = tuple(range(number * per_shard, (number + 1) * per_shard))
        indexes.append(
            ShardIndex(
                split="train",
                number=number,
                shards={"train": num_shards},
                classes=("a",),
                settings={},
                tar_bytes=10**6,
                tar_sha256=f"{number:064x}",
                ids=ids,
                names=tuple(map(str, ids)),
                labels=(0,) * per_shard,
                offsets=(512,) * per_shard,
                sizes=(1,) * per_shard,
                sha256=("0" * 64,) * per_shard,
            )
        )
    return RemoteShards([f"https://a.org/{i}.tar" for i in range(num_shards)], indexes)


def test_few_shards_are_in_use_at_a_time_and_ranks_share_few(cache):
    num_shards, per_shard, world_size = 256, 20, 8
    source = many_shards(num_shards, per_shard)
    order = source.epoch_order(seeded_generator(0, 0))
    assert sorted(order.tolist()) == list(range(num_shards * per_shard))
    shard = (order // per_shard).numpy()
    # Lanes of four shards: at any time one a lane is in use, or two where a lane goes on to the next.
    for start in range(0, len(shard), 512):
        assert len(set(shard[start : start + LANES])) == LANES
        assert len(set(shard[start : start + 512])) <= 2 * LANES
    by_rank = [set(shard[rank::world_size]) for rank in range(world_size)]
    shared = sum(map(len, by_rank)) - num_shards
    assert shared == 0  # no shard is read by two ranks where shards fill the lanes evenly
    assert not torch.equal(order, source.epoch_order(seeded_generator(0, 1)))


def test_uneven_lanes_lose_nothing(cache):
    source = many_shards(67, 7)
    order = source.epoch_order(seeded_generator(5))
    assert sorted(order.tolist()) == list(range(67 * 7))


def test_a_stretch_ahead_is_expected_once(written, cache):
    told = []
    source = remote(written)
    source.expect = lambda indices: told.append(list(indices))
    loader = train_loader(source, TRAIN, batch_size=8, seed=0)
    batches = list(loader)
    assert sorted(index for part in told for index in part) == list(range(40))
    assert len(told) == 1  # 40 images are less than the stretch ahead
    assert told[0] == [i for batch in batches for i in batch.indices.tolist()]


# --- refused


def replace_in_index(folder, name, **changes):
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            lambda d: (d / "train-000002.tar").unlink(),
            r"train-000002\.tar cannot be read.*a shard is missing",
        ),
        (lambda d: (d / "train-000002.json").unlink(), r"train-000002\.json, the shard's index.*--index"),
        (
            lambda d: (d / "train-000004.tar").write_bytes(b"x" * 600),
            r"train-000004\.tar has 600 bytes.*torn",
        ),
        (lambda d: (d / "train-000003.json").write_text("{"), r"train-000003\.json is not a shard's index"),
        (lambda d: replace_in_index(d, "train-000003", classes=["a", "b", "c"]), "different classes"),
        (lambda d: replace_in_index(d, "train-000003", settings={"x": 1}), "not written together"),
        (lambda d: replace_in_index(d, "train-000003", ids=list(range(100, 108))), None),
    ],
)
@pytest.mark.parametrize("notation", ["{}", "{}/train-{{000000..000004}}.tar"])
def test_damaged_sets_are_refused_before_the_first_image(shards, damage, complaint, notation):
    damage(shards)
    if complaint is None:
        open_shards(notation.format(shards), split="train")
        return
    with pytest.raises(DataError, match=complaint):
        open_shards(notation.format(shards), split="train")


def test_a_list_with_a_gap_is_refused_wherever_it_is(shards, cache, server):
    (shards / "train-000003.json").unlink()
    for before in (f"{shards}/", f"pipe:cat 2>/dev/null {shards}/", f"{server}/"):
        with pytest.raises(DataError, match=r"train-000003\.json"):
            open_shards(before + "train-{000000..000004}.tar", split="train")


def test_other_wrong_lists(shards, tmp_path):
    with pytest.raises(DataError, match=r"has a gap: train-000003\.tar is not in it"):
        open_shards(f"{shards}/train-000002.tar::{shards}/train-000004.tar", split="train")
    assert len(open_shards(f"{shards}/train-{{000002..000003}}.tar", split="train")) == 16  # a part is no gap
    with pytest.raises(DataError, match=r"val-000000\.tar is of split val"):
        open_shards(f"{shards}/train-000000.tar::{shards}/val-000000.tar", split="train")
    for suffix in ("tar", "json"):
        (shards / f"train-000004.{suffix}").write_bytes((shards / f"train-000003.{suffix}").read_bytes())
    with pytest.raises(DataError, match="hold the same images"):
        open_shards(shards, split="train")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.tar").touch()
    with pytest.raises(DataError, match=r"no train-000000\.tar to begin with"):
        open_shards(tmp_path / "other", split="train")


@pytest.fixture
def indexed(shards):
    """Shards whose indexes do not know of each other, as `shard --index` writes them, in a folder."""
    for path in shards.glob("*.json"):
        replace_in_index(shards, path.stem, shards={})
    return shards


def test_a_folder_of_indexed_shards_is_read_whole(indexed):
    """Its first shard was taken for all."""
    assert [len(open_shards(indexed, split=split)) for split in ("train", "val")] == [40, 11]
    (indexed / "train-000002.tar").unlink()
    with pytest.raises(DataError, match=r"has a gap: train-000002\.tar is not there, shards after it are"):
        open_shards(indexed, split="train")


def test_indexed_training_shards_are_no_validation(indexed):
    """A training shard served as validation where there was no other."""
    for path in indexed.glob("val-*"):
        path.unlink()
    with pytest.raises(DataError, match=r"has no val shards: train-000000\.tar is of split train"):
        open_validation(indexed)
    assert len(open_data(indexed, split="train")) == 40


def test_classes_of_a_model_fix_the_labels(written):
    source = open_shards(written, split="val", classes=("dog-b", "bird", "dog", "cat"))
    own = open_shards(written, split="val")
    assert [source.classes[i] for i in source.labels] == [own.classes[i] for i in own.labels]
    with pytest.raises(DataError, match=r"class dog-b .* is none of the model's 2 classes"):
        open_shards(written, split="val", classes=("cat", "dog"))


def test_a_shard_torn_while_training_is_one_error_that_names_it(shards):
    source = open_shards(shards, split="train")
    (shards / "train-000002.tar").write_bytes(b"")
    for workers in (0, 1):
        loader = train_loader(source, TRAIN, batch_size=8, seed=0, on_bad_image="skip", num_workers=workers)
        with pytest.raises(DataError, match=r"train-000002\.tar: .* the shard ends before it") as caught:
            list(loader)
        assert "\n" not in str(caught.value)


def test_a_damaged_image_is_skipped_like_any_other(shards):
    index = ShardIndex.from_json((shards / "val-000000.json").read_text(), name="x")
    tar = shards / "val-000000.tar"
    data = bytearray(tar.read_bytes())
    data[index.offsets[0] : index.offsets[0] + index.sizes[0]] = bytes(index.sizes[0])
    tar.write_bytes(data)
    source = open_shards(shards, split="val")
    with pytest.raises(BadImageError, match=r"val-000000\.tar: cat/"):
        list(eval_loader(source, EVAL, batch_size=4))
    batches = list(eval_loader(source, EVAL, batch_size=4, on_bad_image="skip"))
    assert sum(map(len, batches)) == 10
    assert [bad.path for batch in batches for bad in batch.bad] == [source.name(index.ids[0])]
