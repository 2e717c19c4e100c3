"""Fixtures of the checkpoint tests: small networks, and the check that a bad file is refused cleanly."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.errors import CheckpointError
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.reparam.fuse import reparameterize
from mobileone.variants import Variant


@pytest.fixture
def model(tiny: Variant, randomize: Callable[[nn.Module], nn.Module]) -> MobileOne:
    """A small network in train form, with statistics of its own."""
    return randomize(create_model(tiny, num_classes=5, class_names=list("abcde")))


@pytest.fixture
def fused(model: MobileOne) -> MobileOne:
    return reparameterize(model)


@pytest.fixture
def same_state() -> Callable[[nn.Module, nn.Module], None]:
    """Asserts that two networks have the same entries, bit for bit."""

    def check(got: nn.Module, wanted: nn.Module) -> None:
        got_state, wanted_state = got.state_dict(), wanted.state_dict()
        assert list(got_state) == list(wanted_state)
        assert [k for k in wanted_state if not torch.equal(got_state[k], wanted_state[k])] == []

    return check


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Asserts that a file is refused in one line with its name, executing and writing nothing."""

    def check(path: Path, kind: type[CheckpointError] = CheckpointError, *, by_info: bool = True) -> str:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(kind) as caught:
            load_model(path)
        if by_info:
            with pytest.raises(kind):
                describe(path)
        message = str(caught.value)
        assert "\n" not in message
        assert path.name in message
        assert len(message) < 500
        assert sorted(tmp_path.rglob("*")) == before
        return message

    return check


@pytest.fixture
def torch_zip() -> Callable[..., None]:
    """Writes a zip as torch does, from the bytes of data.pkl and of each storage."""

    def write(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
            for key, content in (storages or {}).items():
                archive.writestr(f"archive/data/{key}", content)

    return write


@pytest.fixture
def saved_bytes() -> Callable[..., bytes]:
    """What torch.save writes, in either of its containers."""

    def save(content: object, *, legacy: bool = False) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
        return buffer.getvalue()

    return save


class Call:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def forged_tensor(tensor, *, offset=0, size, stride):
    arguments = (tensor._typed_storage(), offset, size, stride, False, {})
    return Call(torch._utils._rebuild_tensor_v2, *arguments)
