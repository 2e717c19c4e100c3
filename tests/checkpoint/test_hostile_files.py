"""Files that are damaged, or made to harm: each is refused in one line, nothing is executed or written."""

import builtins
import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
import torch

from mobileone.checkpoint.contents import open_contents
from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.store import save_model
from mobileone.errors import CheckpointError, UnsafeCheckpointError


class Call:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def forged_tensor(tensor, *, offset=0, size, stride):
    arguments = (tensor._typed_storage(), offset, size, stride, False, {})
    return Call(torch._utils._rebuild_tensor_v2, *arguments)


def test_the_clean_file_is_read(tmp_path, fused, saved_bytes, same_state):
    # The twin of everything below: the same file, unharmed.
    path = tmp_path / "good.pth"
    path.write_bytes(saved_bytes({"state_dict": fused.state_dict()}))
    same_state(load_model(path), fused)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["weights", "beside"])
@pytest.mark.parametrize(
    ("function", "argument", "named"),
    [
        (os.system, "touch {marker}", "system"),
        (builtins.eval, "open({marker!r}, 'w').close()", "builtins.eval"),
        (builtins.exec, "open({marker!r}, 'w').close()", "builtins.exec"),
        (builtins.__import__, "this", "builtins.__import__"),
        (os.mkdir, "{marker}", "mkdir"),
    ],
)
def test_calls_are_refused(tmp_path, fused, saved_bytes, refused, function, argument, named, place, legacy):
    marker = tmp_path / "executed"
    evil = Call(function, argument.format(marker=str(marker)))
    content = (
        {"state_dict": evil} if place == "weights" else {"state_dict": fused.state_dict(), "epoch": evil}
    )
    path = tmp_path / "evil.pth"
    path.write_bytes(saved_bytes(content, legacy=legacy))
    message = refused(path, UnsafeCheckpointError)
    assert named in message
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the guard's twin: this file really runs code
    assert marker.exists() or named == "builtins.__import__"


GETATTR, LINEAR = b"c__builtin__\ngetattr\n", b"ctorch.nn.modules.linear\nLinear\n"
NAME = b"X\x08\x00\x00\x00__init__"


@pytest.mark.parametrize(
    "opcodes",
    [
        GETATTR + LINEAR + NAME + b"\x86R",  # an attribute of a class
        GETATTR + LINEAR + b")\x81" + NAME + b"\x86R)R",  # calls what getattr gave
        GETATTR + GETATTR + LINEAR + b")\x81" + NAME + b"\x86R" + NAME + b"\x86R)R",
        LINEAR + b")R)R",  # calls an object
        b"cmobileone.checkpoint.load\nload_model\n",
        b"ctorch.hub\nload\n",
        b"ctorch\nload\n",
        b"cnumpy.f2py\ncompile\n",
    ],
)
def test_chains_of_attributes_and_other_globals_are_refused(tmp_path, torch_zip, refused, opcodes):
    path = tmp_path / "chain.pt"
    torch_zip(path, b"\x80\x02" + opcodes + b".")
    refused(path, UnsafeCheckpointError)


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x82\x01",  # EXT1: the registry of copyreg
        b"\x96" + struct.pack("<Q", 2**40),  # BYTEARRAY8: allocates a length before there are bytes
        b"\x8e" + struct.pack("<Q", 2**40),  # BINBYTES8 of more than there is
        b"\x8a\xff",  # LONG1 cut short
        b"(ios\nsystem\n",  # INST
        b"}(K\x01",  # ends in the middle
        b"R",
        b"0",
        b"h\x07",  # a memo that was never set
        b"}}s",
        b"]K\x01K\x02s",
        b"K\x01Q",
        b"}K\x00\x85" + b"q\x00h\x00\x86" * 99 + b"K\x01s",  # a key whose hash takes 2⁹⁹ steps
        b"NN",
    ],
)
def test_malformed_pickles_are_refused(tmp_path, torch_zip, refused, opcodes):
    path = tmp_path / "bad.pt"
    torch_zip(path, b"\x80\x02" + opcodes + b".")
    refused(path)


def test_mutated_pickles_are_read_or_refused_and_nothing_else(tmp_path, torch_zip, fused, saved_bytes):
    archive = zipfile.ZipFile(io.BytesIO(saved_bytes(fused.state_dict())))
    clean = archive.read("archive/data.pkl")
    names = [n for n in archive.namelist() if n.startswith("archive/data/")]
    storages = {name.removeprefix("archive/data/"): archive.read(name) for name in names}
    path, chance, refusals = tmp_path / "mutated.pt", random.Random(0), 0
    for _ in range(150):
        pickled = bytearray(clean)
        for _ in range(chance.choice((1, 3))):
            pickled[chance.randrange(len(pickled))] = chance.randrange(256)
        torch_zip(path, bytes(pickled), storages)
        try:
            load_model(path)
        except CheckpointError:
            refusals += 1
    assert refusals > 100


def test_an_endless_pickle_is_refused(tmp_path, torch_zip, refused):
    path = tmp_path / "long.pt"
    torch_zip(path, b"\x80\x02" + b"}0" * 1_000_100 + b"}.")
    assert "longer than any" in refused(path, by_info=False)


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


def test_every_flipped_bit_of_the_central_directory_is_seen_or_harmless(tmp_path, fused, saved_bytes):
    content = saved_bytes(fused.state_dict())
    path = tmp_path / "flipped.pth"
    wanted = fused.state_dict()
    start = content.index(b"PK\x01\x02")
    refusals = 0
    for place in range(start, len(content), 11):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            contents = open_contents(path)
            got = contents.read(list(contents.tensors))
        except CheckpointError:
            refusals += 1
        else:
            assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert refusals > 50


def test_flipped_bits_of_a_tensor_are_seen(tmp_path, fused, saved_bytes, refused):
    content = bytearray(saved_bytes(fused.state_dict()))
    weight = fused.stem.reparam_conv.weight.detach().numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    path = tmp_path / "flipped.pth"
    path.write_bytes(content)
    assert "damaged" in refused(path, by_info=False)


def test_a_zip_bomb_is_refused(tmp_path, refused):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(20_000_000))
    assert path.stat().st_size < 100_000
    assert "compressed" in refused(path, UnsafeCheckpointError)


def test_overlapping_entries_are_refused(tmp_path, refused):
    path = tmp_path / "overlap.pth"
    name, inner = b"archive/data/1", b"x" * 64
    crc = zlib.crc32(inner)
    header = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 33, crc, 64, 64, len(name), 0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", header + name + inner)
        outer = archive.getinfo("archive/data/0")
        info = zipfile.ZipInfo(name.decode())
        info.CRC, info.file_size, info.compress_size = crc, 64, 64
        info.header_offset = outer.header_offset + 30 + len(name)
        archive.filelist.append(info)
    with zipfile.ZipFile(path) as archive:  # an ordinary reader finds both
        assert archive.read("archive/data/1") == inner
    assert "overlaps" in refused(path, UnsafeCheckpointError)


def test_an_entry_named_twice_is_refused(tmp_path, refused):
    path = tmp_path / "twice.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("archive/data.pkl", b"\x80\x02K\x01.")
    refused(path, UnsafeCheckpointError)


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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_weights_are_refused_by_name(tmp_path, fused, refused, value):
    with torch.no_grad():
        fused.stages[2][1].reparam_conv.weight[3, 0, 0, 0] = value
    path = save_model(fused, tmp_path / "nan.safetensors")
    assert "stages.2.1.reparam_conv.weight has NaN or infinite" in refused(path, by_info=False)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("stages.1.0.reparam_conv.bias"), "misses tensors: 1 (stages.1.0.reparam_conv.bias)"),
        (lambda s: s.update({"stages.1.0.reparam_conv.running_var": torch.ones(16)}), "left over"),
        (
            lambda s: s.update({"neck.weight": torch.ones(2)}),
            "left over that timm names do not have: 1 (neck.weight)",
        ),
        (lambda s: s.update({"head.fc.bias": torch.ones(6)}), "head.fc.bias must have shape (5,)"),
        (
            lambda s: s.update({"stages.3.0.reparam_conv.weight": torch.ones(16, 1, 5, 5)}),
            "got (16, 1, 5, 5)",
        ),
        (lambda s: s.pop("stem.reparam_conv.weight"), "stem.reparam_conv.weight"),
        (lambda s: s.update({"stages.9.0.reparam_conv.bias": torch.ones(1)}), "left over"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("stages.2")], "stage 2 needs units"),
        (
            lambda s: s.update({"stages.0.0.conv_kxk.0.conv.weight": torch.ones(16, 1, 3, 3)}),
            "some units are in",
        ),
        (lambda s: s.update({"stem.reparam_conv.bias": torch.ones(16, dtype=torch.int8)}), "floating point"),
        (lambda s: s.update({"epoch": 3}), "'epoch' among its weights is of type int"),
        (lambda s: s.clear(), "no weights"),
        (lambda s: s.update({"a\nb": torch.ones(1)}), "'a\\nb' among its weights"),
        (lambda s: s.update({"x" * 10_000: torch.ones(1)}), "named tensor"),
    ],
)
def test_tensors_that_are_no_network_are_named(tmp_path, fused, saved_bytes, refused, change, expected):
    state = dict(fused.state_dict())
    change(state)
    path = tmp_path / "wrong.pth"
    path.write_bytes(saved_bytes(state))
    assert expected in refused(path, by_info="floating" not in expected)


def test_another_network_is_refused(tmp_path, saved_bytes, refused):
    path = tmp_path / "resnet.pth"
    path.write_bytes(saved_bytes({"conv1.weight": torch.ones(64, 3, 7, 7), "fc.weight": torch.ones(10, 512)}))
    assert "no MobileOne's" in refused(path)


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
        archive.writestr("m/constants.pkl", b"")
    assert "TorchScript" in refused(script)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", b"")
        archive.writestr("b.txt", b"")
    assert "not one that torch wrote" in refused(other)


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


def test_a_folder_without_weights(tmp_path, refused):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert "no model in folder" in refused(folder)
    assert isinstance(folder, Path)
