"""What a pickle becomes: tables that agree with torch's, and inert values."""

import torch

from mobileone.checkpoint.pickle_values import (
    ITEM_SIZES,
    STORAGE_TYPES,
    TORCH_NAMES,
    Record,
    StorageRef,
    TensorRef,
)


def test_sizes_and_names_of_elements_are_torchs():
    assert ITEM_SIZES.keys() == TORCH_NAMES.keys()
    assert {name: getattr(torch, TORCH_NAMES[name]).itemsize for name in ITEM_SIZES} == ITEM_SIZES


def test_every_storage_holds_elements_that_are_known():
    assert set(STORAGE_TYPES.values()) == set(ITEM_SIZES)
    for name, dtype in STORAGE_TYPES.items():
        if name.startswith("torch.") and name.count(".") == 1:
            storage = getattr(torch, name.removeprefix("torch."))
            assert storage._dtype == getattr(torch, TORCH_NAMES[dtype])  # the public one warns


def test_a_reference_knows_its_size_without_its_bytes():
    ref = TensorRef(StorageRef("0", "BF16", 100), 4, (2, 3), (3, 1))
    assert (ref.numel, ref.dtype) == (6, "BF16")
    assert TensorRef(ref.storage, 0, (), ()).numel == 1


def test_records_are_apart_however_alike():
    assert repr(Record("a.B", state=(1, 2))) == "<a.B>"
    assert Record("a.B") != Record("a.B")
    assert len({Record("a.B"), Record("a.B")}) == 2, "one may be a key, as the object it stands for may"
