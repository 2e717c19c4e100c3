"""What the files of a model tell of where it comes from."""

import pytest

from mobileone.checkpoint.inspect import describe
from mobileone.errors import TrainingError
from mobileone.publishing.provenance import data_title, run_about, trace


def test_a_run_is_found_by_its_folder_and_by_its_weights(run_dir, converted):
    for source in (run_dir, run_dir / "best.safetensors"):
        found = trace(source, describe(source))
        assert found.run_dir == run_dir
        assert found.figures["acc1"] == 91.25
        assert (found.dataset, found.published) == ("pets", None)
        assert found.fingerprint[1].startswith("validation: 90 labels in 2 classes, ")
    assert run_about(converted) is None
    assert trace(converted, describe(converted)).published.name == "mobileone_s0.apple"


def test_published_weights_bring_their_publishers_figures(converted):
    found = trace(converted, describe(converted))
    assert (found.figures, found.dataset, found.is_published) == ({"acc1": 71.4}, "imagenet-1k", True)
    assert found.protocol == "as README of apple/ml-mobileone states"


def test_damaged_notes_are_refused(run_dir):
    (run_dir / "images.json").write_text('{"training": 3}')
    with pytest.raises(TrainingError, match=r"images.json is damaged"):
        trace(run_dir, describe(run_dir))
    (run_dir / "images.json").unlink()
    assert trace(run_dir, describe(run_dir)).fingerprint == ()


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("hf:owner/pets:train", "owner/pets"),
        ("hf:/home/me/pets?label=a", "pets"),
        ("..", "data"),
        ("C:\\me\\pets", "pets"),
        ("digits", "digits"),
    ],
)
def test_no_folder_of_anybodys_is_told(address, title):
    assert data_title(address) == title
