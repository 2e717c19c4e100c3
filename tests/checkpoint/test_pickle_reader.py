"""Pickles read as data: what would run code or takes too long is refused in one line, nothing is executed."""

import argparse
import builtins
import io
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path, PurePosixPath

import pytest
import torch

from mobileone.checkpoint.load import load_model
from mobileone.checkpoint.pickle_reader import read_pickle
from mobileone.checkpoint.pickle_values import Record
from mobileone.errors import CheckpointError, UnsafeCheckpointError

from .conftest import Call


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


def test_plain_values_come_back():
    value = {
        "none": None, "numbers": [1, -2, 2**40, 0.5, True], "text": "größe", "bytes": b"ab",
        "nested": ({"a": (1, (2, 3))}, {4, 5}, frozenset([6])),
    }  # fmt: skip
    for protocol in (2, 4):
        assert read_pickle(io.BytesIO(pickle.dumps(value, protocol=protocol)), path=Path("x")) == value


def test_foreign_objects_are_records_and_tensors_references(saved_bytes):
    content = {"args": argparse.Namespace(lr=0.1), "w": torch.zeros(2, 3).t(), "where": PurePosixPath("a/b")}
    pickled = zipfile.ZipFile(io.BytesIO(saved_bytes(content))).read("archive/data.pkl")
    storages = {}
    tree = read_pickle(io.BytesIO(pickled), path=Path("x"), storages=storages)
    assert (tree["args"].name, tree["args"].state) == ("argparse.Namespace", {"lr": 0.1})
    assert isinstance(tree["where"], Record)
    ref = tree["w"]
    assert (ref.shape, ref.stride, ref.offset, ref.dtype) == ((3, 2), (1, 3), 0, "F32")
    assert storages == {ref.storage.key: ref.storage}


def test_the_file_is_left_behind_the_pickle():
    file = io.BytesIO(pickle.dumps([1], protocol=2) + pickle.dumps([2], protocol=2))
    assert [read_pickle(file, path=Path("x")) for _ in range(2)] == [[1], [2]]
