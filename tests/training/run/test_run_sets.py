"""The sets of a run, and what a configuration asks of them."""

import pytest

from mobileone.errors import ConfigError, DataError
from mobileone.training.run.run_sets import open_sets

pytest.importorskip("sklearn", reason="figures of several labels need scikit-learn, in the extra train")


def test_a_list_gives_both_sets_with_the_same_labels(config, label_list):
    train, val, _ = open_sets(config.with_values({"data": str(label_list), "task": "multilabel"}))
    assert (len(train), len(val), train.classes, val.classes) == (24, 8, ("bright", "red"), ("bright", "red"))
    assert (train.labels.shape, val.labels.shape) == ((24, 2), (8, 2))


def test_labels_need_their_task(config, label_list, image_folder):
    with pytest.raises(DataError, match="has 2 labels; each image must have one, unless task=multilabel"):
        open_sets(config.with_values({"data": str(label_list)}))
    with pytest.raises(DataError, match="has one label an image"):
        open_sets(config.with_values({"data": str(image_folder), "task": "multilabel"}))


@pytest.mark.parametrize(
    ("select", "wanted"), [("recall/grey", "names no class of the data"), ("loss", None)]
)
def test_a_class_to_choose_by_must_be_there(config, select, wanted):
    config = config.with_values({"saving.select": select})
    if wanted is None:
        open_sets(config)
        return
    with pytest.raises(ConfigError, match=wanted):
        open_sets(config)


def test_a_class_to_choose_by_must_be_in_the_validation_images(config, image_folder):
    for path in (image_folder / "val" / "light").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="select=recall/light: no validation image is of that class"):
        open_sets(config.with_values({"saving.select": "recall/light"}))
