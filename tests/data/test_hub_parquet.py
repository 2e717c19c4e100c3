"""Data sets read from their Parquet files where these are: in a folder, and on a hub."""

import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mobileone.cli.named_images import list_images
from mobileone.curation.embed import embedded_images
from mobileone.data.fingerprint import Fingerprint
from mobileone.data.hub_dataset import LabelledHubImages, hub_splits, open_hub_images
from mobileone.data.hub_parquet import ParquetTable
from mobileone.data.loader import eval_loader, train_loader
from mobileone.data.open import open_data, open_validation, open_whole
from mobileone.data.sampling import epoch_order
from mobileone.data.shards.shard_cache import ShardCache
from mobileone.data.source import StreamedSource
from mobileone.errors import ConfigError, DataError
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec
from mobileone.parts.data_part import named_parts
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.transforms import transform_at

FILES = {"train-00000-of-00002": (0, 20), "train-00001-of-00002": (20, 12), "test-00000-of-00001": (40, 4)}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILEONE_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "shards"


@pytest.fixture
def folder(table, tmp_path):
    """Two files for training with ten row groups, and one for testing."""
    (tmp_path / "pq").mkdir()
    for name, (first, number) in FILES.items():
        table(number, first=first).to_parquet(tmp_path / "pq" / f"{name}.parquet", batch_size=3)
    return tmp_path / "pq"


@pytest.fixture
def hub(folder, at_local_hub, datasets, monkeypatch):
    """The same on a hub."""
    from huggingface_hub import HfFileSystem

    HfFileSystem.clear_instance_cache()
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", at_local_hub.url)
    at_local_hub.add("datasets/me/pets", {path.name: path.read_bytes() for path in folder.iterdir()})
    yield at_local_hub
    HfFileSystem.clear_instance_cache()


def steps(source, *, start=0, rank=0, world_size=1, size=8, epoch=1, workers=0):
    transform = transform_at(TrainConfig(input_spec=InputSpec(size=32)))
    loader = train_loader(
        source, transform, batch_size=size, seed=3, rank=rank, world_size=world_size, num_workers=workers
    )
    loader.set_epoch(epoch, start=start)
    try:
        return [batch.indices.tolist() for batch in loader]
    finally:
        loader.close()


def test_the_same_as_downloaded(folder):
    train, val = (open_data(f"hf:{folder}?stream=true", split=split) for split in ("train", "val"))
    whole = open_data(f"hf:{folder}", split="train")
    assert isinstance(train, StreamedSource)
    assert not isinstance(whole, StreamedSource)
    assert (len(train), len(val), train.classes) == (32, 4, whole.classes)
    assert np.array_equal(train.labels, whole.labels)
    for index in range(32):
        assert train.name(index) == whole.name(index)
        assert train.read(index).data == whole.read(index).data
    assert Fingerprint.of(train) == Fingerprint.of(whole)
    assert val.notes == (f"hf:{folder} has no split for validation; test is used",)
    assert hub_splits(f"hf:{folder}?stream=true") == {"train", "test"}
    assert open_validation(f"hf:{folder}?stream=true").files[3] == "43.png"
    other = open_data(f"hf:{folder}?stream=true", split="train", classes=("cat", "cow", "dog"))
    assert other.labels[:3].tolist() == [2, 0, 2]


def test_every_image_once_whatever_the_ranks_and_resumed_at_any_step(folder):
    source = open_data(f"hf:{folder}?stream=true", split="train")
    whole = steps(source)
    assert sorted(index for step in whole for index in step) == list(range(32))
    assert whole != steps(source, epoch=2)
    assert steps(source, start=3) == whole[3:]
    ranks = [steps(source, rank=rank, world_size=2, size=4) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*ranks, strict=True)] == [sorted(step) for step in whole]
    again = pickle.loads(pickle.dumps(source))
    assert steps(again) == whole == steps(source, workers=1)
    tests = [
        eval_loader(
            source,
            EvalTransform.from_spec(InputSpec(size=32)),
            batch_size=4,
            rank=rank,
            world_size=2,
        )
        for rank in range(2)
    ]
    assert sorted(i for loader in tests for batch in loader for i in batch.indices.tolist()) == list(
        range(32)
    )


def test_a_rank_reads_row_groups_of_its_own(table, folder):
    table(64).to_parquet(folder / "train-00000-of-00002.parquet", batch_size=4)
    (folder / "train-00001-of-00002.parquet").unlink()
    source = open_data(f"hf:{folder}?stream=true", split="train")
    groups = [{i // 4 for step in steps(source, rank=rank, world_size=2) for i in step} for rank in (0, 1)]
    assert [len(each) for each in groups] == [8, 8]
    assert not groups[0] & groups[1]


def test_predict_embed_and_parts_take_it(folder):
    address = f"hf:{folder}:test?stream=true"
    images = list_images([address])
    images[0].expect()
    assert [str(image).rpartition(" ")[2] for image in images] == [f"{i}.png" for i in range(40, 44)]
    names, labels, read, _ = embedded_images(address)
    assert (len(names), labels) == (4, ["dog", "cat", "dog", "cat"])
    assert read(2).data == images[2].read().data
    assert [part.images for part in named_parts([address], part_size=3)] == [3, 1]


def test_images_without_labels_and_rows_without_image(datasets, cell, tmp_path):
    (tmp_path / "bare").mkdir()
    rows = {"image": [cell(3), None, {"bytes": None, "path": "/etc/hostname"}]}
    features = datasets.Features({"image": datasets.Image()})
    bare = datasets.Dataset.from_dict(rows, features=features)
    bare.to_parquet(tmp_path / "bare" / "train.parquet")
    source = open_hub_images(f"hf:{tmp_path}/bare:train?stream=true")
    assert not isinstance(source, LabelledHubImages)
    assert len(source.read(0).data) > 50
    for index in (1, 2):  # what a stranger's table calls a path is nobody's business
        with pytest.raises(DataError, match=rf"train: {index}: there is no image in this row"):
            source.read(index)


def test_several_labels_an_image(datasets, table, folder):
    tags = (datasets.Sequence(datasets.ClassLabel(names=["red", "big"])), [[0, 1], [], [1], [0]])
    for path in folder.glob("t*.parquet"):
        table(4, tags=tags).remove_columns("label").to_parquet(path)
    labels = open_data(f"hf:{folder}?stream=true", split="train").labels
    assert labels.tolist() == 2 * [[True, True], [False, False], [False, True], [True, False]]


def test_the_cache_stays_below_its_limit(folder, tmp_path):
    urls = sorted(map(str, folder.glob("train*")))
    small = ShardCache(tmp_path / "small", limit_bytes=1500)
    table = ParquetTable(urls, cache=small)
    for index in (*range(32), 0):
        assert table.cell("image", index)["bytes"]
    assert sum(path.stat().st_size for path in small.folder.glob("*.arrow")) < 4000
    assert len(list(small.folder.glob("*.arrow"))) < 4


def test_only_what_is_read_is_fetched_and_only_once(table, hub):
    noise = np.random.default_rng(0).integers(0, 255, (8, 300, 300, 3), dtype=np.uint8)
    features = table(1).features
    big = table(8).remove_columns("image").add_column("image", [_png(pixels) for pixels in noise])
    content = io.BytesIO()
    big.cast_column("image", features["image"]).to_parquet(content, batch_size=2)
    hub.add("datasets/me/noise", {"train.parquet": content.getvalue()})
    source = open_data("hf:me/noise?stream=true", split="train")
    assert _sent(hub) < 250_000 < 2_000_000 < len(content.getvalue())  # three times a footer's 64 kB
    hub.sent.clear()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(source.read(5).data))), noise[5])
    assert 540_000 < _sent(hub) < 700_000  # two images of 270 kB
    hub.sent.clear()
    again = open_data("hf:me/noise?stream=true", split="train")
    assert again.read(4).data == source.read(4).data
    assert _sent(hub) <= 65_536


def test_a_hub(hub, folder):
    source = open_data("hf:me/pets?stream=true", split="train")
    whole = open_data(f"hf:{folder}", split="train")
    assert [source.read(i).data for i in range(32)] == [whole.read(i).data for i in range(32)]
    assert np.array_equal(source.labels, whole.labels)
    assert source.name(21) == "hf:me/pets:train: 21.png"
    hub.add("datasets/me/pets", {"train-00000-of-00001.parquet": b"another commit"})
    later = ShardCache(folder / "empty")
    source._table.__dict__["_cache"] = later
    assert source.read(31).data == whole.read(31).data  # of the commit that was opened


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (
            "gone",
            r"cannot read hf://datasets/me/pets@\w+/train-00000-of-00002.parquet: .*(gone|404|not found)",
        ),
        ("gated", r"cannot read .*: it is gated; accept its terms on the hub and set HF_TOKEN"),
        ("damaged", r"cannot read .*train-00000-of-00002.parquet: "),
    ],
)
def test_what_happens_while_it_is_read(hub, happens, said):
    source = open_data("hf:me/pets?stream=true", split="train")
    files = next(iter(hub.repos["datasets/me/pets"].commits.values()))
    if happens == "gone":
        files.clear()
    elif happens == "gated":
        hub.repos["datasets/me/pets"] = SimpleNamespace(find=_gated, private=False)
    else:
        files["train-00000-of-00002.parquet"] = b"x" * len(files["train-00000-of-00002.parquet"])
    with pytest.raises(DataError, match=said) as caught:
        source.read(7)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_opened(hub, folder, table, tmp_path):
    table(4).save_to_disk(tmp_path / "saved")
    (tmp_path / "photos" / "train" / "cat").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "train" / "cat" / "1.png")
    hub.add("datasets/me/torn", {"train.parquet": b"PAR1 no more"})
    other = table(2).rename_column("label", "kind")
    for path in folder.glob("train-00001*"):
        other.to_parquet(path)
    for address, said in [
        ("hf:me/nowhere", r"cannot open hf:me/nowhere: no such data set, or it is private"),
        ("hf:someone/gated", r"cannot open hf:someone/gated: it is gated"),
        ("hf:me/torn", r"cannot read hf://datasets/me/torn@\w+/train.parquet: "),
        (
            f"hf:{tmp_path}/saved",
            r"on this machine as Arrow files, so nothing streams; leave out stream=true",
        ),
        (f"hf:{tmp_path}/photos", r"is kept as imagefolder, and only Parquet streams"),
        (f"hf:{folder}", r"a file of this data set has no column label"),
    ]:
        with pytest.raises(DataError, match=said) as caught:
            open_data(f"{address}?stream=true", split="train")
        assert "\n" not in str(caught.value)


def test_what_a_stream_is_not_for(folder):
    with pytest.raises(DataError, match="streams in an order of its own, so nothing of it can be held out"):
        open_whole(f"hf:{folder}?stream=true")
    source = open_data(f"hf:{folder}?stream=true", split="train")
    with pytest.raises(ConfigError, match="data sets with stream=true come in their own"):
        epoch_order(source, sampling="balanced")


def _png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def _sent(hub):
    return sum(size for name, size in hub.sent if name.endswith("parquet"))


def _gated(_):
    from tests.local_hub import Refusal

    raise Refusal(403, "GatedRepo")
