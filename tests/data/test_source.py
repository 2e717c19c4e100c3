"""What counts as a set of images, and which of them are streamed."""

import numpy as np
import pytest
import torch

from mobileone.data.digits import load_digits
from mobileone.data.folder import find_images
from mobileone.data.source import StreamedSource
from mobileone.images.decode import DecodedImage, Image


class Squares:
    """A set of one's own."""

    classes = ("small", "large")
    labels = np.array([0, 1])

    def __len__(self):
        return 2

    def name(self, index):
        return f"square {index}"

    def read(self, index):
        return DecodedImage(self.name(index), np.zeros((4 + index, 4 + index, 3), dtype=np.uint8))


class StreamedSquares(Squares):
    """The same from elsewhere."""

    def epoch_order(self, generator):
        return torch.randperm(2, generator=generator)

    def expect(self, indices):
        pass


@pytest.mark.parametrize("kind", ["digits", "folder", "own"])
def test_every_set_names_labels_and_reads_its_images(kind, flat_folder):
    makers = {
        "digits": lambda: load_digits("val"),
        "folder": lambda: find_images(flat_folder, split=None),
        "own": Squares,
    }
    source = makers[kind]()
    assert len(source) == len(source.labels)
    assert set(np.unique(source.labels)) <= set(range(len(source.classes)))
    image = source.read(1)
    assert isinstance(image, Image)
    assert image.name == source.name(1)
    assert image.decode().shape == (image.height, image.width, 3)
    assert not isinstance(source, StreamedSource)


def test_a_set_that_orders_and_expects_is_streamed():
    assert isinstance(StreamedSquares(), StreamedSource)
