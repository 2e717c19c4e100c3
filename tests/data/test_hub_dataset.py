"""Data sets as the hub's library writes them: folders of Arrow files, and of Parquet with the images."""

import pickle
import tarfile

import pytest

from mobileone.data.fingerprint import Fingerprint
from mobileone.data.hub_dataset import LabelledHubImages, hub_splits, open_hub_data, open_hub_images
from mobileone.data.loader import train_loader
from mobileone.data.open import open_data, open_validation, open_whole
from mobileone.data.subset import image_name
from mobileone.errors import BadImageError, DataError, MissingExtraError
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.transforms import transform_at


@pytest.fixture
def saved(datasets, table, tmp_path):
    datasets.DatasetDict(train=table(12), test=table(4)).save_to_disk(tmp_path / "saved")
    return f"hf:{tmp_path}/saved"


@pytest.fixture
def parquet(table, tmp_path):
    (tmp_path / "pq").mkdir()
    for split, number in (("train", 12), ("test", 4)):
        table(number).to_parquet(tmp_path / "pq" / f"{split}-00000-of-00001.parquet")
    return f"hf:{tmp_path}/pq"


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_splits_classes_and_images(kind, request):
    data = request.getfixturevalue(kind)
    train, val = open_data(data, split="train"), open_validation(data)
    assert (len(train), len(val), train.classes) == (12, 4, ("dog", "cat"))
    assert train.labels.tolist() == [0, 1] * 6
    assert val.notes == (f"{data} has no split for validation; test is used",)
    assert train.name(3) == f"{data}:train: 3.png"
    assert [image_name(source, 3) for source in (train, val)] == ["train/3.png", "test/3.png"]
    assert (EvalTransform.from_spec(InputSpec(size=32))(train.read(3)) == 103).all()
    assert hub_splits(data) == {"train", "test"}
    assert len(open_data(f"{data}:test", split="train")) == 4
    assert len(open_validation(f"{data}:train")) == 4
    assert pickle.loads(pickle.dumps(train)).read(3).data == train.read(3).data
    again = Fingerprint.of(open_data(data, split="train"))
    assert Fingerprint.of(train).changes(again) is None
    assert Fingerprint.of(train).changes(Fingerprint.of(val)) == (
        "4 images now, 12 then (dog: 2 now, 6 then, cat: 2 now, 6 then)"
    )


def test_order_under_resume_and_on_ranks_is_that_of_a_folder(saved):
    source = open_data(saved, split="train")
    config = TrainConfig(input_spec=InputSpec(size=32), epochs=2, batch_size=4)

    def indices(start=0, rank=0, world_size=1, size=4):
        loader = train_loader(
            source, transform_at(config), batch_size=size, seed=3, rank=rank, world_size=world_size
        )
        loader.set_epoch(1, start=start)
        return [batch.indices.tolist() for batch in loader]

    whole = indices()
    assert sorted(index for step in whole for index in step) == list(range(12))
    assert indices(start=1) == whole[1:]
    ranks = [indices(rank=rank, world_size=2, size=2) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*ranks, strict=True)] == [sorted(step) for step in whole]


def test_workers_read_it(saved):
    source = open_data(saved, split="train")
    config = TrainConfig(input_spec=InputSpec(size=32))
    loader = train_loader(source, transform_at(config), batch_size=6, seed=0, num_workers=1)
    try:
        assert [len(batch) for batch in loader] == [6, 6]
    finally:
        loader.close()


def test_a_network_of_other_order_gets_its_own_labels(saved):
    source = open_data(saved, split="val", classes=("cat", "cow", "dog"))
    assert source.labels.tolist() == [2, 0, 2, 0]
    with pytest.raises(DataError, match=r"saved:test: dog is none of the 2 classes \(cat … cow\)"):
        open_data(saved, split="val", classes=("cat", "cow"))


def test_several_labels_an_image(datasets, table, tmp_path):
    tags = (datasets.Sequence(datasets.ClassLabel(names=["red", "big"])), [[0, 1], [], [1], [0]])
    table(4, tags=tags).remove_columns("label").save_to_disk(tmp_path / "tagged")
    source = open_data(f"hf:{tmp_path}/tagged", split="train")
    assert source.labels.tolist() == [[True, True], [False, False], [False, True], [True, False]]
    assert len(open_whole(f"hf:{tmp_path}/tagged", task="multilabel")) == 4


def test_texts_and_numbers_are_labels_when_they_are_named(datasets, table, tmp_path):
    breed = (datasets.Value("string"), ["pug", "tabby", "pug", "manx"])
    age = (datasets.Value("int64"), [10, 9, 10, 9])
    table(4, breed=breed, age=age).save_to_disk(tmp_path / "pets")
    source = open_data(f"hf:{tmp_path}/pets?label=breed", split="train")
    assert (source.classes, source.labels.tolist()) == (("manx", "pug", "tabby"), [1, 2, 1, 0])
    assert open_data(f"hf:{tmp_path}/pets?label=age", split="train").classes == ("9", "10")


def test_one_line_for_what_cannot_be_told(datasets, table, tmp_path, saved):
    coarse = (datasets.ClassLabel(names=["a", "b"]), [0, 1, 0, 1])
    table(4, coarse=coarse).save_to_disk(tmp_path / "two")
    table(4).remove_columns("image").save_to_disk(tmp_path / "blind")
    table(4).remove_columns("label").save_to_disk(tmp_path / "bare")
    hidden = table(4).remove_columns("label").add_column("label", [0, -1, 1, -1])
    hidden.cast_column("label", datasets.ClassLabel(names=["a", "b"])).save_to_disk(tmp_path / "hidden")
    for name, said in [
        ("two", r"has the label columns label, coarse; name one, as hf:.*two\?label=label"),
        ("blind", r"has no image column by its types, but label \(ClassLabel\)"),
        ("bare", r"has no label column by its types, but image \(Image\); name one by \?label=COLUMN"),
        ("bare?label=image", r"image holds no labels; its columns are image"),
        ("two?image=photo", r"photo is no column of it"),
        ("hidden", r"2 of 4 images have no label in label, the first is number 1"),
        ("nowhere", r"no such folder"),
        ("saved:other", r"has no split other, but train, test"),
    ]:
        with pytest.raises(DataError, match=said) as caught:
            open_data(f"hf:{tmp_path}/{name}", split="train")
        assert "\n" not in str(caught.value)
    assert len(open_data(f"hf:{tmp_path}/two?label=coarse", split="train")) == 4
    with pytest.raises(DataError, match="so it is divided already"):
        open_whole(saved)
    with pytest.raises(DataError, match=r"no split for validation, but train; pass split=0.2"):
        open_validation(f"hf:{tmp_path}/two?label=coarse")


def test_images_without_labels_and_rows_without_image(datasets, cell, tmp_path):
    features = datasets.Features({"image": datasets.Image()})
    rows = [cell(3), None, cell(5)]
    datasets.Dataset.from_dict({"image": rows}, features=features).save_to_disk(tmp_path / "bare")
    source = open_hub_images(f"hf:{tmp_path}/bare:train")
    assert not isinstance(source, LabelledHubImages)
    assert [source.name(index)[-8:] for index in (0, 2)] == ["train: 0", "train: 2"]
    with pytest.raises(BadImageError, match=r"bare:train: 1: there is no image in this row"):
        source.read(1)


@pytest.fixture
def by_path(datasets, cell, tmp_path):
    """`by_path(folder, *paths)`: a data set of the library's that names its images."""

    def make(*paths):
        features = datasets.Features({"image": datasets.Image()})
        rows = [{"bytes": None, "path": str(path)} for path in paths]
        return datasets.Dataset.from_dict({"image": rows}, features=features)

    (tmp_path / "secret.png").write_bytes(cell(7)["bytes"])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "own.png").write_bytes(cell(9)["bytes"])
    return make


def test_a_local_set_names_files_of_its_own_folder_alone(by_path, tmp_path):
    own, secret, link = tmp_path / "set" / "own.png", tmp_path / "secret.png", tmp_path / "set" / "link.png"
    link.symlink_to(secret)
    by_path(own, secret, link).to_parquet(tmp_path / "set" / "train.parquet")
    source = open_hub_images(f"hf:{tmp_path}/set:train")
    assert source.read(0).data == own.read_bytes()
    for row in (1, 2):
        with pytest.raises(
            DataError, match=rf"set:train: row {row} names the file .*png, which is not"
        ) as no:
            source.read(row)
        assert "\n" not in str(no.value)
        assert not isinstance(no.value, BadImageError)  # nothing to skip and go on


def test_a_set_of_the_hub_names_files_of_the_caches_alone(by_path, datasets, cell, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "blob").write_bytes(cell(5)["bytes"])
    (tmp_path / "hub" / "0.png").symlink_to(tmp_path / "hub" / "blob")  # as the cache has them
    found = by_path(tmp_path / "hub" / "0.png", tmp_path / "secret.png", tmp_path / "set" / "own.png")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: found)
    source = open_hub_images("hf:a/b:train")
    assert source.read(0).data == cell(5)["bytes"]
    for row in (1, 2):
        with pytest.raises(DataError, match=rf"hf:a/b:train: row {row} names the file"):
            source.read(row)


def test_folders_and_archives_of_images_are_read(datasets, cell, tmp_path):
    for name in ("red", "blue"):
        (tmp_path / "plain" / "train" / name).mkdir(parents=True)
        (tmp_path / "plain" / "train" / name / "1.png").write_bytes(cell(3)["bytes"])
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "train.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "plain" / "train" / "red", "red")
    for folder, number in (("plain", 2), ("packed", 1)):
        source = open_hub_images(f"hf:{tmp_path}/{folder}:train")
        assert [source.read(index).data for index in range(len(source))] == [cell(3)["bytes"]] * number


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "DatasetNotFoundError('Dataset a/b is a gated dataset on the Hub.')",
            "it is gated; accept its terms",
        ),
        ("DatasetNotFoundError('nope')", "no such data set, or it is private; if so, set HF_TOKEN"),
        ("ConnectionError('no\\nroute')", r"the hub is out of reach \(no route\)"),
        ("ValueError('Config name is missing.\\nPick a, b')", r"Pick a, b; name one by \?config=NAME"),
    ],
)
def test_a_hub_that_does_not_give(datasets, monkeypatch, error, said):
    from datasets.exceptions import DatasetNotFoundError

    def fail(*_, **__):
        raise eval(error, {"DatasetNotFoundError": DatasetNotFoundError})

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=f"cannot open hf:a/b: .*{said}") as caught:
        open_hub_data("hf:a/b", split="train")
    assert "\n" not in str(caught.value)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mobileone\[datasets\]'"):
        open_data("hf:a/b", split="train")
