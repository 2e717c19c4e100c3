"""Writing shards: the same bytes every time, verified, never over something else; readable by WebDataset."""

import io
import shutil
import tarfile

import pytest
import webdataset
from PIL import Image

from mobileone.data.folder import find_images
from mobileone.data.open import open_data
from mobileone.data.pixels import to_tensor
from mobileone.data.resize import resize
from mobileone.data.shards import write
from mobileone.data.shards.shard_source import open_shards
from mobileone.data.shards.write import ShardSettings, write_shards
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.images.decode import EncodedImage, as_stored
from mobileone.images.orientation import EXIF_ORIENTATION

SETTINGS = ShardSettings(shard_size=8)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_bytes_do_not_depend_on_the_processes(photo_folder, written, tmp_path):
    told = []
    splits = write_shards(
        photo_folder,
        tmp_path / "again",
        settings=SETTINGS,
        num_workers=2,
        on_shard=lambda done, total: told.append((done, total)),
    )
    assert contents(tmp_path / "again") == contents(written)
    assert told == [(i, 7) for i in range(1, 8)]
    assert [(s.split, s.num_shards, s.num_images, s.kept) for s in splits] == [
        ("train", 5, 40, 0),
        ("val", 2, 11, 0),
    ]
    assert len(contents(written)) == 14


# It leaves files to the garbage collector, which warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_them(photo_folder, written):
    folder = find_images(photo_folder, split="train")
    found = {}
    pattern = f"{written}/train-{{000000..000004}}.tar"
    for sample in webdataset.WebDataset(pattern, shardshuffle=False, empty_check=False):
        image = sample.get("png") or sample.get("jpeg")
        found[int(sample["__key__"])] = (image, int(sample["cls"]))
    assert found == {i: (folder.read(i).data, folder.labels[i]) for i in range(40)}


def test_classes_are_mixed_over_the_training_shards_and_in_order_in_validation(written):
    train, val = open_shards(written, split="train"), open_shards(written, split="val")
    for number in range(5):
        assert len(set(train.labels[train._shard == number])) > 1
    assert (val._shard == sorted(val._shard)).all()


def test_resizing_makes_large_images_smaller_and_leaves_small_ones(tmp_path):
    folder = tmp_path / "data" / "cat"
    folder.mkdir(parents=True)
    Image.new("RGB", (200, 100), "red").save(folder / "large.png")
    Image.new("RGB", (50, 20), "red").save(folder / "small.png")
    write_shards(
        tmp_path / "data",
        tmp_path / "out",
        settings=ShardSettings(resize_short=40, quality=80),
        num_workers=0,
    )
    source = open_shards(tmp_path / "out", split="val")
    large, small = source.read(0), source.read(1)
    assert (large.width, large.height) == (80, 40)
    assert Image.open(io.BytesIO(large.data)).format == "JPEG"
    assert small.data == (folder / "small.png").read_bytes()
    with tarfile.open(tmp_path / "out" / "val-000000.tar") as tar:
        assert sorted(tar.getnames()) == ["000000000.cls", "000000000.jpg", "000000001.cls", "000000001.png"]
    assert abs(int(large.decode()[..., 0].mean()) - 254) < 3


def test_smaller_images_are_turned_as_the_files_were(tmp_path):
    folder = tmp_path / "data" / "cat"
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    for suffix in ("jpg", "png"):
        Image.linear_gradient("L").resize((200, 100)).save(folder / f"turned.{suffix}", exif=exif)
    write_shards(tmp_path / "data", tmp_path / "out", settings=ShardSettings(resize_short=40), num_workers=0)
    images, shards = find_images(tmp_path / "data", split="val"), open_shards(tmp_path / "out", split="val")
    for index in range(2):
        for orient, size in ((lambda image: image, (80, 40)), (as_stored, (40, 80))):
            before, after = orient(images.read(index)), orient(shards.read(index))
            assert (after.height, after.width) == size
            difference = resize(to_tensor(before.decode()), size).int() - to_tensor(after.decode()).int()
            assert difference.abs().float().mean() < 2


def test_nothing_is_written_over(photo_folder, shards, written, tmp_path):
    with pytest.raises(ConfigError, match="holds these shards already"):
        write_shards(photo_folder, shards, settings=SETTINGS, num_workers=0)
    with pytest.raises(ConfigError, match="of other images or settings"):
        write_shards(photo_folder, shards, settings=ShardSettings(shard_size=20), num_workers=0)
    assert contents(shards) == contents(written)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"not empty \(thesis\.txt\)"):
        write_shards(photo_folder, tmp_path / "mine", num_workers=0)


def test_an_interrupted_run_goes_on(photo_folder, written, tmp_path, monkeypatch):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_shards(photo_folder, out, settings=SETTINGS, num_workers=0, on_shard=interrupt)
    (out / "train-000003.tar").write_bytes(b"a tar file without an index was never finished")
    with pytest.raises(DataError, match=r"train-000003\.json"):
        open_shards(out, split="train")
    before = (out / "train-000001.tar").stat().st_mtime_ns
    splits = write_shards(photo_folder, out, settings=SETTINGS, num_workers=0)
    assert (splits[0].kept, splits[0].num_images) == (3, 40)
    assert (out / "train-000001.tar").stat().st_mtime_ns == before
    assert contents(out) == contents(written)


def test_what_is_read_back_otherwise_is_not_kept(photo_folder, tmp_path, monkeypatch):
    honest = write.index_tar

    def flipped(path, **arguments):
        data = bytearray(path.read_bytes())
        data[600] ^= 1  # of an image: the file begins with the label, a header, the image
        data[1600] ^= 1
        path.write_bytes(data)
        return honest(path, **arguments)

    monkeypatch.setattr(write, "index_tar", flipped)
    with pytest.raises(DataError, match=r"train-000000\.tar was read back and is not what was written"):
        write_shards(photo_folder, tmp_path / "out", settings=SETTINGS, num_workers=0)
    assert contents(tmp_path / "out") == {}


def test_an_unreadable_image_stops_it_by_name(photo_folder, tmp_path):
    folder = shutil.copytree(photo_folder, tmp_path / "data")
    (folder / "train" / "cat" / "torn.jpg").write_bytes(
        (folder / "train" / "cat" / "3.JPEG").read_bytes()[:700]
    )
    for workers in (0, 2):
        with pytest.raises(BadImageError, match=r"torn\.jpg"):
            write_shards(folder, tmp_path / "out", settings=SETTINGS, num_workers=workers)


def test_a_class_that_only_validation_has_is_refused(photo_folder, tmp_path):
    folder = shutil.copytree(photo_folder, tmp_path / "data")
    (folder / "val" / "dog").rename(folder / "val" / "wolf")
    with pytest.raises(DataError, match="wolf is none of"):
        write_shards(folder, tmp_path / "out", num_workers=0)


@pytest.mark.parametrize("values", [{"shard_size": 0}, {"resize_short": 0}, {"quality": 0}, {"quality": 101}])
def test_settings_out_of_range(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        ShardSettings(**values)


def test_names_that_are_no_unicode_and_dots_in_names_survive(tmp_path):
    folder = tmp_path / "data" / "a.b"
    folder.mkdir(parents=True)
    for name in (b"x.y.png", b"\xff.png"):
        with open(bytes(folder) + b"/" + name, "wb") as file:
            Image.new("RGB", (8, 8)).save(file, "PNG")
    write_shards(tmp_path / "data", tmp_path / "out", num_workers=0)
    source = open_shards(tmp_path / "out", split="val")
    assert [source.name(i).rpartition(": ")[2] for i in range(2)] == ["a.b/x.y.png", "a.b/\\xff.png"]
    assert isinstance(source.read(1), EncodedImage)


def test_a_list_of_several_labels_goes_into_shards_and_comes_back(label_list, tmp_path):
    splits = write_shards(label_list, tmp_path / "out", settings=SETTINGS, num_workers=0)
    assert [(split.split, split.num_images) for split in splits] == [("train", 24), ("val", 8)]
    for name in ("train", "val"):
        listed, packed = (open_data(data, split=name) for data in (label_list, tmp_path / "out"))
        assert packed.labels.tolist() == listed.labels.tolist()
        assert packed.labels.dtype == bool
        assert [packed.read(index).data for index in (0, 5)] == [listed.read(index).data for index in (0, 5)]
    wider = open_data(tmp_path / "out", split="val", classes=("red", "soft", "bright"), task="multilabel")
    assert wider.labels[:, [2, 0]].tolist() == listed.labels.tolist()
    with tarfile.open(tmp_path / "out" / "val-000000.tar") as tar:
        assert tar.extractfile("000000000.json").read() == b"[0, 1]"
    with pytest.raises(DataError, match="several labels an image, so it needs task=multilabel"):
        open_data(tmp_path / "out", split="val", task="singlelabel")
    with pytest.raises(ConfigError, match="holds these shards already"):
        write_shards(label_list, tmp_path / "out", settings=SETTINGS, num_workers=0)


def test_a_list_may_name_files_by_any_name(photo_folder, tmp_path):
    """A name without a suffix ended in a traceback, an unknown one in an index whose columns differ."""
    kinds = {"plain": "png", "photo.jpg_large": "JPEG", "label.cls": "png", "a.b.PNG": "png", "0.jpe": "JPEG"}
    for name, kind in kinds.items():
        shutil.copy(sorted((photo_folder / "val" / "cat").glob(f"*.{kind}"))[0], tmp_path / name)
    (tmp_path / "list.csv").write_text("image,label\n" + "".join(f"{name},cat\n" for name in kinds))
    write_shards(tmp_path / "list.csv", tmp_path / "out", num_workers=0)
    source = open_data(tmp_path / "out", split="val")
    assert [source.read(i).data for i in range(5)] == [(tmp_path / name).read_bytes() for name in kinds]
    with tarfile.open(tmp_path / "out" / "val-000000.tar") as tar:
        suffixes = [name.partition(".")[2] for name in tar.getnames() if not name.endswith(".cls")]
    assert suffixes == ["png", "jpeg", "png", "png", "jpe"]
