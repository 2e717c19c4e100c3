"""Headers that do not add up are refused."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from mobileone.checkpoint.safetensors_header import read_header
from mobileone.errors import CheckpointError


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}},  # length against shape
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},  # a gap
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},  # past the end
        {"w": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "Q9", "shape": [2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32"}},
        {"w": []},
        {"__metadata__": {"mobileone": "{"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {"__metadata__": {"mobileone": 3}},
        [],
    ],
)
def test_damaged_safetensors_headers(tmp_path, refused, header):
    text = json.dumps(header).encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    refused(path)


def test_a_header_says_what_the_library_reads(tmp_path):
    tensors = {
        "a": torch.zeros(2, 3, dtype=torch.bfloat16), "scalar": torch.tensor(1.5), "none": torch.zeros(0, 4),
        "counter": torch.tensor(3),
    }  # fmt: skip
    path = tmp_path / "m.safetensors"
    save_file(tensors, path, metadata={"key": "value"})
    found, metadata = read_header(path, size=path.stat().st_size)
    assert metadata == {"key": "value"}
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    assert [found[name].dtype for name in tensors] == ["BF16", "F32", "F32", "I64"]


def test_a_file_that_ends_early_is_named(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"a": torch.zeros(8)}, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="its tensors need 32 bytes and it has 28"):
        read_header(path, size=path.stat().st_size)
