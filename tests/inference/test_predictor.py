"""Images of every kind in, classes out, in order, whatever goes wrong with one of them."""

import io
import os

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.decision import Decision
from mobileone.errors import BadImageError, ConfigError
from mobileone.images.decode import read_image
from mobileone.images.orientation import EXIF_ORIENTATION
from mobileone.inference.predictor import Predictor
from mobileone.input_spec import InputSpec
from mobileone.outside_text import printable


class Brightness:
    """A classifier without weights: class i is as likely as the picture's mean is near 64 · i."""

    input_spec = InputSpec(size=8, crop=1.0)
    num_classes = 5
    class_names = tuple("abcde")
    device = torch.device("cpu")

    def __init__(self):
        self.batches = []

    def logits(self, pixels):
        self.batches.append(len(pixels))
        level = pixels.float().mean((1, 2, 3))
        return -(level[:, None] - 64 * torch.arange(5.0)).abs()


@pytest.fixture
def predictor():
    return Predictor(Brightness())


@pytest.fixture
def grey(tmp_path):
    def write(level):
        path = tmp_path / f"{level}.png"
        PIL.Image.new("RGB", (20, 10), (level, level, level)).save(path)
        return path

    return write


def best(prediction):
    return prediction.scores[0].class_name


def test_one_image_gives_one_prediction_and_a_list_a_list(predictor, grey):
    path = grey(128)
    one = predictor(path, topk=2)
    assert (one.image, best(one), len(one.scores)) == (str(path), "c", 2)
    assert predictor([path], topk=2) == [one]
    assert predictor([]) == []


def test_every_kind_of_image_is_seen_alike(predictor, grey):
    path = grey(192)
    pixels = np.full((10, 20, 3), 192, dtype=np.uint8)
    kinds = [
        str(path),
        path,
        read_image(path),
        PIL.Image.open(path),
        PIL.Image.new("L", (20, 10), 192),
        pixels,
        torch.from_numpy(pixels).permute(2, 0, 1),
    ]
    assert [best(prediction) for prediction in predictor(kinds)] == ["d"] * len(kinds)


class BrokenFile:
    """An open file whose connection broke."""

    name = "broken.jpg"

    def read(self, size=-1):
        raise ConnectionResetError("gone")


def torn_pillow_image(picture, encode):
    """Pillow opens it by its header, and only looks at the rest when it is asked for pixels."""
    return PIL.Image.open(io.BytesIO(encode(picture(0, 64, 80), "JPEG")[:-400]))


def closed_pillow_image(picture, encode):
    image = PIL.Image.open(io.BytesIO(encode(picture(0, 64, 80), "PNG")))
    image.close()
    return image


BROKEN = {
    "int": lambda *_: 3,
    "None, as cv2.imread gives": lambda *_: None,
    "float colours": lambda *_: np.zeros((4, 4, 3)),
    "no pixels": lambda *_: np.zeros((0, 4, 3), dtype=np.uint8),
    "grey that is no number": lambda *_: np.full((4, 4), np.nan),
    "channels last in PyTorch": lambda *_: torch.zeros(6, 4, 3, dtype=torch.uint8),
    "a sparse tensor": lambda *_: torch.zeros(3, 4, 4).to_sparse(),
    "torn Pillow image": torn_pillow_image,
    "closed Pillow image": closed_pillow_image,
    "empty Pillow image": lambda *_: PIL.Image.new("RGB", (0, 4)),
    "a mode that Pillow does not convert": lambda *_: PIL.Image.new("La", (4, 4)),
    "bfloat16": lambda *_: torch.zeros(3, 4, 4, dtype=torch.bfloat16),
    "bytes of nothing": lambda *_: b"",
    "a file read to its end": lambda *_: io.BytesIO(b""),
    "a file in text mode": lambda *_: io.StringIO("text"),
    "a broken file": lambda *_: BrokenFile(),
    "a path with a null byte": lambda *_: "a\0b.jpg",
    "a folder": lambda *_: os.curdir,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_whatever_is_broken_is_skipped_or_refused_in_a_line(predictor, kind, picture, encode, grey):
    broken = BROKEN[kind](picture, encode)
    with pytest.raises(BadImageError) as caught:
        predictor(broken)
    assert "\n" not in str(caught.value)
    first, second, third = predictor.stream([grey(64), broken, grey(128)], on_bad_image="skip")
    assert (best(first), best(third)) == ("b", "c")
    assert second.scores == ()
    assert second.error == str(caught.value)
    assert second.error.startswith(f"{printable(second.image)}: ")


def test_a_misspelt_way_to_treat_bad_images_is_refused(predictor):
    with pytest.raises(ConfigError, match="on_bad_image must be error or skip, got 'ignore'"):
        predictor.stream([], on_bad_image="ignore")


def test_photos_are_turned_unless_the_old_pixels_are_wanted(tmp_path):
    """Stored: black above white. As the camera was held: white on the left."""
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[4:] = 255
    exif = PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    PIL.Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)

    class LeftSide(Brightness):
        def logits(self, pixels):
            return super().logits(pixels[:, :, :, :4])

    for given in (tmp_path / "photo.png", PIL.Image.open(tmp_path / "photo.png")):
        assert best(Predictor(LeftSide())(given)) == "e"
        assert best(Predictor(LeftSide(), exif=False)(given)) == "c"


def test_a_stream_keeps_order_and_batches(predictor, grey):
    paths = [grey(level) for level in (0, 64, 128, 192, 255)] * 3
    predictions = list(predictor.stream(iter(paths), batch_size=4))
    assert "".join(best(prediction) for prediction in predictions) == "abcde" * 3
    assert predictor.classifier.batches == [4, 4, 4, 3]


def test_a_bad_image_stops_or_is_named(predictor, grey, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8 no picture")
    paths = [grey(0), bad, tmp_path / "missing.png", grey(255)]
    with pytest.raises(BadImageError, match=r"bad\.jpg"):
        list(predictor.stream(paths))
    first, second, third, fourth = predictor.stream(paths, on_bad_image="skip")
    assert (best(first), best(fourth)) == ("a", "e")
    assert (second.image, second.scores) == (str(bad), ())
    assert "bad.jpg" in second.error
    assert "missing.png" in third.error


@pytest.mark.parametrize("option", ["topk", "batch_size", "workers"])
def test_options_out_of_range_are_refused_at_once(predictor, option):
    with pytest.raises(ConfigError, match=f"{option} must be at least 1, got 0"):
        predictor.stream([], **{option: 0})


class Labels(Brightness):
    """Brightness as a network of labels: each is likely on its own."""

    task = "multilabel"
    bias = 70

    def logits(self, pixels):
        return super().logits(pixels) + self.bias


def test_labels_have_a_probability_each_and_those_above_the_threshold_are_named(grey):
    predictor = Predictor(Labels())
    answer = predictor(grey(128), topk=1)
    assert answer.labels == ("c", "b", "d")  # 70, 6 and 6 above zero
    assert [score.class_name for score in answer.scores] == ["c", "b", "d"]  # none of them is left out
    assert answer.scores[1].probability == pytest.approx(1 / (1 + np.exp(-6)), rel=1e-4)
    assert [score.class_name for score in predictor(grey(128), topk=5).scores] == ["c", "b", "d", "a", "e"]
    assert Predictor(Labels(), threshold=0.999)(grey(128)).labels == ("c",)
    assert answer.to_dict()["labels"] == ("c", "b", "d")


def test_no_label_may_reach_the_threshold(grey):
    assert Predictor(Brightness())(grey(30)).labels is None
    classifier = Labels()
    classifier.bias = 0
    answer = Predictor(classifier)(grey(96), topk=2)
    assert (answer.labels, len(answer.scores)) == ((), 2)


@pytest.mark.parametrize(
    ("classifier", "threshold", "wanted"),
    [(Brightness, 0.5, "for multi-label networks"), (Labels, 1.5, r"must be in \[0, 1\], got 1.5")],
)
def test_a_threshold_that_means_nothing_is_refused(classifier, threshold, wanted):
    with pytest.raises(ConfigError, match=wanted):
        Predictor(classifier(), threshold=threshold)


def test_a_calibrated_model_gives_its_probabilities_and_its_doubts(grey):
    model = Brightness()
    model.decision = Decision(
        temperatures=(10.0,), thresholds=(0.9, 0, 0, 0, 0), novelty="max_logit", novelty_limit=-20.0
    )
    predictor = Predictor(model)
    dark, middling, strange = predictor([grey(level) for level in (0, 128, 96)])
    logits = -np.abs(0 - 64 * np.arange(5.0)) / 10
    assert dark.scores[0].probability == pytest.approx(1 / np.exp(logits).sum(), rel=1e-6)
    assert (dark.sure, dark.doubt) == (True, None)
    assert (middling.sure, middling.doubt) == (True, None)
    assert (strange.sure, strange.doubt) == (False, "novel")
    model.decision = Decision(thresholds=(1.0,))
    assert Predictor(model)(grey(96)).doubt == "unlikely"
    plain = Predictor(Brightness())(grey(0))
    assert (plain.sure, plain.doubt) == (None, None)


def test_the_thresholds_of_a_multi_label_model_are_its_decisions(grey):
    model = Brightness()
    model.task, model.decision = (
        "multilabel",
        Decision(temperatures=(64.0,), thresholds=(0.5, 0.2, 0.5, 1, 1)),
    )
    assert Predictor(model)(grey(0)).labels == ("a", "b")
    assert Predictor(model, threshold=0.5)(grey(0)).labels == ("a",)
