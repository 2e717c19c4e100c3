import numpy as np
import pytest

from mobileone.checkpoint.store import save_model
from mobileone.errors import ConfigError
from mobileone.model.create import create_model, list_models
from mobileone.model.features import FeatureExtractor
from mobileone.model.network import MobileOne


def test_bad_options_are_refused(tiny):
    for options, wanted in [
        ({"form": "fused"}, "form must be"),
        ({"num_classes": -1}, "num_classes"),
        ({"in_chans": 0}, "in_chans|one value a channel"),
        ({"output_stride": 4}, "output_stride"),
        ({"out_indices": (1,)}, "features_only"),
    ]:
        with pytest.raises(ConfigError, match=wanted):
            create_model(tiny, **options)


def test_list_models():
    assert list_models("*s?") == [f"mobileone_s{i}" for i in range(5)]
    assert list_models("resnet*") == []


def test_what_is_built_and_the_nearest_name(tiny):
    assert type(create_model(tiny)) is MobileOne
    assert type(create_model(tiny, features_only=True)) is FeatureExtractor
    with pytest.raises(ConfigError, match="did you mean mobileone_s3"):
        create_model("mobileone_s33")


def test_numbers_of_numpy_are_numbers(tmp_path):
    model = create_model("mobileone_s0", num_classes=np.int64(10), in_chans=np.int64(4))
    assert (type(model.num_classes), type(model.in_chans)) == (int, int)
    save_model(model, tmp_path / "m.safetensors")
    assert type(create_model("mobileone_s0", in_chans=np.int64(4), features_only=True).in_chans) is int
