import pytest

from mobileone.errors import ConfigError
from mobileone.input_spec import IMAGENET_MEAN, InputSpec


def test_default_is_imagenets_256_then_224():
    spec = InputSpec()
    assert (spec.size, spec.resize_size, spec.mean) == (224, 256, IMAGENET_MEAN)


def test_round_trip_through_plain_values():
    spec = InputSpec(size=96, crop=0.9, interpolation="bicubic", mean=(0.5,), std=(0.25,))
    assert InputSpec(**spec.to_dict()) == spec
    assert spec.in_chans == 1


def test_photos_are_turned_unless_a_spec_says_otherwise_also_one_stored_before():
    assert InputSpec(exif=False).to_dict()["exif"] is False
    before = InputSpec().to_dict()
    del before["exif"]
    assert InputSpec(**before).exif is True


def test_other_channel_counts_get_the_average_colour():
    assert InputSpec.for_channels(5).mean == pytest.approx((sum(IMAGENET_MEAN) / 3,) * 5)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 0},
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
