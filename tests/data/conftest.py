"""Data sets of the hub's library, made here."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    """The library, with a cache of its own."""
    library = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    library.disable_progress_bars()
    return library


@pytest.fixture
def cell():
    """An image of one shade as a table holds it."""

    def make(shade, path=None):
        content = io.BytesIO()
        Image.fromarray(np.full((40, 48, 3), shade, np.uint8)).save(content, "PNG")
        return {"bytes": content.getvalue(), "path": path}

    return make


@pytest.fixture
def table(datasets, cell):
    """A split of so many images, cats dark and dogs light."""

    def make(number, *, first=0, **columns):
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])}
            | {name: feature for name, (feature, _) in columns.items()}
        )
        numbers = range(first, first + number)
        content = {
            "image": [cell(100 * (index % 2) + index, f"{index}.png") for index in numbers],
            "label": [index % 2 for index in numbers],
        } | {name: values for name, (_, values) in columns.items()}
        return datasets.Dataset.from_dict(content, features=features)

    return make
