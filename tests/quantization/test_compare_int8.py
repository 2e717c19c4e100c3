"""Two classifiers on the same photos."""

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.data.photos import read_photos
from mobileone.input_spec import InputSpec
from mobileone.quantization.compare_int8 import compare_int8


class Reads:
    """Says class i for a picture of level 10 · i, or i + 1 where it is told to be wrong."""

    input_spec, num_classes, class_names = InputSpec(size=8, crop=1.0), 4, None
    device = torch.device("cpu")

    def __init__(self, wrong=()):
        self.wrong, self.batches = wrong, []

    def logits(self, pixels):
        self.batches.append(len(pixels))
        seen = [level // 10 for level in pixels[:, 0, 0, 0].tolist()]
        seen = [(each + (each in self.wrong)) % 4 for each in seen]
        return 9.0 * torch.nn.functional.one_hot(torch.tensor(seen), 4)


@pytest.fixture
def photos(tmp_path):
    for index in range(60):
        path = tmp_path / str(index % 4) / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(np.full((9, 9, 3), 10 * (index % 4), dtype=np.uint8)).save(path)
    return read_photos(tmp_path, num_classes=4, class_names=None)


def test_agreement_and_accuracy_are_counted_over_all_batches(photos):
    model, int8 = Reads(), Reads(wrong=[3])
    found = compare_int8(model, int8, photos, progress=False)
    assert (found.num_images, found.agreement) == (60, 75.0)
    assert (found.float_acc1, found.int8_acc1) == (100.0, 75.0)
    assert model.batches == int8.batches == [50, 10]


def test_without_labels_there_is_agreement_alone(photos, tmp_path):
    (tmp_path / "flat").mkdir()
    for path in tmp_path.glob("[0-3]/*.png"):
        path.rename(tmp_path / "flat" / path.name)
    flat = read_photos(tmp_path / "flat", num_classes=4, class_names=None)
    found = compare_int8(Reads(), Reads(), flat, progress=False)
    assert (found.num_images, found.agreement) == (60, 100.0)
    assert (found.float_acc1, found.int8_acc5) == (None, None)
    assert found.sqnr_db == 200.0
