"""Files of every container: whole ones are read, damaged, forged and foreign ones refused in one line."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import pytest
import torch

from mobileone.checkpoint.contents import open_contents
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.rotation import Rotation
from mobileone.checkpoint.store import load_state, save_model
from mobileone.errors import CheckpointError, UnsafeCheckpointError

from .conftest import forged_tensor


def test_the_clean_file_is_read(tmp_path, fused, saved_bytes, same_state):
    # The twin of everything below: the same file, unharmed.
    path = tmp_path / "good.pth"
    path.write_bytes(saved_bytes({"state_dict": fused.state_dict()}))
    same_state(load_model(path), fused)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0.001, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path, fused, saved_bytes, refused, kind, kept):
    if kind == "safetensors":
        content = save_model(fused, tmp_path / "whole.safetensors").read_bytes()
    else:
        content = saved_bytes(fused.state_dict(), legacy=kind == "legacy")
    path = tmp_path / "cut.bin"
    path.write_bytes(content[: max(1, int(len(content) * kept))])
    refused(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (100,), (1,)),
        (60, (10,), (1,)),
        (0, (8, 8), (8, 2)),
        (0, (1000, 64), (0, 1)),  # the same row a thousand times
        (0, (2**40,), (0,)),
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path, saved_bytes, refused, offset, size, stride):
    path = tmp_path / "outside.pth"
    tensor = forged_tensor(torch.zeros(64), offset=offset, size=size, stride=stride)
    path.write_bytes(saved_bytes({"stem.reparam_conv.bias": tensor}))
    assert "does not fit its storage" in refused(path, UnsafeCheckpointError)


@pytest.mark.parametrize(
    ("size", "stride"), [((-1,), (1,)), ((8,), (-1,)), ((8, 8), (1,)), ((1,) * 20, (1,) * 20)]
)
def test_impossible_tensors_are_refused(tmp_path, saved_bytes, refused, size, stride):
    path = tmp_path / "impossible.pth"
    path.write_bytes(saved_bytes({"w": forged_tensor(torch.zeros(64), size=size, stride=stride)}))
    refused(path)


def test_tensors_that_share_one_storage_cannot_multiply_it(tmp_path, saved_bytes, refused):
    path = tmp_path / "shared.pth"
    weight = torch.zeros(10_000)
    path.write_bytes(saved_bytes({f"t{index}": weight for index in range(1000)}))
    assert "share memory" in refused(path, UnsafeCheckpointError)


def test_a_storage_of_another_length_than_its_entry_is_refused(tmp_path, torch_zip, saved_bytes, refused):
    archive = zipfile.ZipFile(io.BytesIO(saved_bytes({"w": torch.zeros(8)})))
    path = tmp_path / "short.pth"
    torch_zip(path, archive.read("archive/data.pkl"), {"0": bytes(8)})
    assert "should hold 32 bytes" in refused(path, UnsafeCheckpointError)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"these are not the weights you are looking for\n", "neither safetensors nor"),
        (pickle.dumps({"state_dict": 1}), "not one that torch.save wrote"),
        (pickle.dumps([1, 2]), "not one that torch.save wrote"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "neither safetensors nor"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (struct.pack("<Q", 2**60) + b"{}", "incomplete"),
        (struct.pack("<Q", 2) + b"{]", "JSON"),
    ],
)
def test_files_of_another_kind(tmp_path, refused, content, expected):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    assert expected in refused(path)


def test_an_old_tar_checkpoint_is_refused(tmp_path, refused):
    path = tmp_path / "old.pth.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    assert "tar archive" in refused(path)


def test_torchscript_and_other_zips_are_refused(tmp_path, refused):
    script = tmp_path / "script.pt"
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
        # As torch.jit.save writes it: the code is compressed.
        archive.writestr("m/code/__torch__.py", b"pass", zipfile.ZIP_DEFLATED)
        archive.writestr("m/constants.pkl", b"")
    assert "a TorchScript archive, which is code; save the state_dict()" in refused(script)
    program = tmp_path / "program.pt2"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("m/models/model.json", b"{}")
    assert "a program of torch.export, not a checkpoint" in refused(program)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", b"")
        archive.writestr("b.txt", b"")
    assert "not one that torch wrote" in refused(other)


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt"])
def test_a_file_is_looked_into_before_it_is_read(tmp_path, fused, name):
    path = save_model(fused, tmp_path / name, extra={"epoch": 3})
    contents = open_contents(path)
    state, key = fused.state_dict(), "state_dict" if name == "m.pt" else ""
    assert list(contents.tables) == [key]
    assert {key: tuple(tensor.shape) for key, tensor in contents.tables[key].items()} == {
        key: tuple(value.shape) for key, value in state.items()
    }
    assert (contents.path, contents.size_bytes) == (path, path.stat().st_size)
    assert contents.config.extra == {"epoch": 3}
    read = contents.read(key, ["head.fc.bias"])
    assert list(read) == ["head.fc.bias"]
    assert torch.equal(read["head.fc.bias"], state["head.fc.bias"])


def test_containers_are_told_by_their_bytes_not_their_suffix(tmp_path, fused, saved_bytes):
    state = fused.state_dict()
    for content, container in (
        (saved_bytes(state), "torch zip"),
        (saved_bytes(state, legacy=True), "torch legacy"),
        (save_model(fused, tmp_path / "m.safetensors").read_bytes(), "safetensors"),
    ):
        path = tmp_path / "model.png"
        path.write_bytes(content)
        assert open_contents(path).container == container


def test_tensors_that_share_memory_in_the_file_do_not_in_the_model(tmp_path, saved_bytes):
    whole = torch.arange(8.0)
    path = tmp_path / "views.pt"
    path.write_bytes(saved_bytes({"a": whole[:4], "b": whole[4:], "empty": torch.zeros(0, 3)}))
    read = open_contents(path).read("", ["a", "b", "empty"])
    read["a"].fill_(9)
    assert read["b"].tolist() == [4, 5, 6, 7]
    assert read["a"].untyped_storage().nbytes() == 16
    assert read["empty"].shape == (0, 3)


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_fifo_or_device_in_place_of_a_checkpoint_is_refused_at_once(kind, tmp_path, no_hang):
    path = tmp_path / "model.safetensors"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    for read in (open_contents, load_model, load_state, Rotation(tmp_path).check):
        with pytest.raises(CheckpointError, match=r"no regular file but a (pipe|device)"):
            read(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"depths": [10**9] * 4},
        {"widths": [10**12] * 4},
        {"num_conv_branches": 10**9},
        {"depths": [1, 1, 1, 1e99]},
        {"name": "\x1b[2J"},
        {"name": "\ud800"},
        {"widths": "9" * 1000},
        {"output_stride": 3332},
    ],
)
def test_hostile_networks_in_a_header_take_no_memory(changes, tmp_path, fused, no_hang):
    path = save_model(fused, tmp_path / "good.safetensors")
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    config = json.loads(header["__metadata__"]["mobileone"])
    (config if "output_stride" in changes else config["variant"]).update(changes)
    header["__metadata__"]["mobileone"] = json.dumps(config)
    changed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert path.name in str(caught.value)
