"""Images of every kind in, classes out, in order, whatever goes wrong with one of them."""

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.errors import BadImageError, ConfigError
from mobileone.images.decode import read_image
from mobileone.inference.predictor import Predictor
from mobileone.input_spec import InputSpec


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


@pytest.mark.parametrize("wrong", [3, np.zeros((4, 4, 3)), torch.zeros(4, 4, 3, dtype=torch.uint8), None])
def test_other_things_are_refused_by_kind(predictor, wrong):
    with pytest.raises(ConfigError, match="an image is a path"):
        predictor(wrong)


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
