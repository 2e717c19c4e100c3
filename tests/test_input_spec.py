import json

import pytest

from mobileone.errors import ConfigError
from mobileone.input_spec import IMAGENET_MEAN, InputSpec, parse_size, size_text


def test_default_is_imagenets_256_then_224():
    spec = InputSpec()
    assert (spec.size, spec.resize_size, spec.mean) == (224, 256, IMAGENET_MEAN)


def test_round_trip_through_plain_values():
    spec = InputSpec(size=96, crop=0.9, interpolation="bicubic", mean=(0.5,), std=(0.25,))
    assert InputSpec(**spec.to_dict()) == spec
    assert spec.in_chans == 1


def test_a_rectangle_goes_through_json_and_a_square_stays_one_number():
    spec = InputSpec(size=(256, 192), crop=0.8, fit="letterbox")
    assert (spec.height, spec.width, spec.resize_size) == (256, 192, (320, 240))
    plain = json.loads(json.dumps(spec.to_dict()))
    assert plain["size"] == [256, 192]
    assert InputSpec(**plain) == spec
    square = InputSpec(size=(224, 224))
    assert square == InputSpec(size=224)
    assert square.to_dict()["size"] == 224
    assert (square.height, square.width) == (224, 224)


def test_specs_stored_before_there_were_rectangles_are_read():
    stored = {"size": 96, "crop": 0.9, "interpolation": "bicubic", "mean": [0.5], "std": [0.25]}
    spec = InputSpec(**stored)
    assert (spec.size, spec.resize_size, spec.fit) == (96, 107, "crop")


def test_photos_are_turned_unless_a_spec_says_otherwise_also_one_stored_before():
    assert InputSpec(exif=False).to_dict()["exif"] is False
    before = InputSpec().to_dict()
    del before["exif"]
    assert InputSpec(**before).exif is True


def test_other_channel_counts_get_the_average_colour():
    assert InputSpec.for_channels(5).mean == pytest.approx((sum(IMAGENET_MEAN) / 3,) * 5)


def test_no_number_of_channels_that_would_fill_the_memory():
    with pytest.raises(ConfigError, match=r"at most 65536 .*, got 65537"):
        InputSpec.for_channels(65_537)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 0},
        {"size": (224, 0)},
        {"size": (224,)},
        {"size": (1, 2, 3)},
        {"size": (224, 192.5)},
        {"size": True},
        {"fit": "squash"},
        {"crop": 0},
        {"crop": 1.1},
        {"interpolation": "nearest"},
        {"std": (1, 1)},
        {"std": (0, 1, 1)},
        {"exif": 1},
        {"size": 10**9},
        {"size": 224.5},
        {"size": "224"},
        {"crop": 1e-300},
        {"crop": float("nan")},
        {"crop": "1"},
        {"mean": (float("inf"), 0, 0)},
        {"std": (float("nan"), 1, 1)},
    ],
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        InputSpec(**options)


@pytest.mark.parametrize("text", ["", "x", "256x", "x192", "256x192x3", "-1", "2.5", "256 192", "9999999999"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize("size", [224, (256, 192)])
def test_sizes_are_printed_as_they_are_typed(size):
    assert parse_size(size_text(size)) == size
