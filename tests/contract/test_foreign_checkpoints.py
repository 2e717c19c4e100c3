"""Checkpoints as other trainers write them: whole networks are found, nothing is executed, the rest is told.

Classes of packages that need not be installed are stand-ins under their names while a file is written.
"""

import datetime
import decimal
import enum
import io
import sys
import types
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Optional

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mobileone.checkpoint.inspect import describe
from mobileone.checkpoint.load import load_model
from mobileone.errors import CheckpointError, MobileOneWarning
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.reparam.fuse import reparameterize


class Mode(enum.Enum):
    FAST = 1


class AttributeDict(dict):  # type: ignore[type-arg]
    """As trainers keep their hyper-parameters."""


class Settings:
    class Kind(enum.Enum):
        DEEP = "deep"

    def __init__(self) -> None:
        self.lr, self.mode, self.kind = 0.1, Mode.FAST, Settings.Kind.DEEP


@contextmanager
def elsewhere(*classes: type) -> Iterator[None]:
    """The classes belong to a package that is gone when the file is read."""
    module = types.ModuleType("some_trainer.parts")
    for cls in classes:
        setattr(module, cls.__name__, cls)
        cls.__module__ = module.__name__
    sys.modules |= {"some_trainer": types.ModuleType("some_trainer"), module.__name__: module}
    try:
        yield
    finally:
        del sys.modules["some_trainer"], sys.modules["some_trainer.parts"]


@pytest.fixture
def model(tiny, randomize: Callable[[nn.Module], nn.Module]) -> MobileOne:
    made = create_model(
        tiny, num_classes=5, class_names=list("abcde"), input_spec=InputSpec(size=64, crop=1.0)
    )
    return randomize(made).eval()


def assert_same(path: Any, wanted: MobileOne, **options: Any) -> MobileOne:
    got = load_model(path, **options)
    assert isinstance(got, MobileOne)
    state, expected = got.state_dict(), wanted.state_dict()
    assert list(state) == list(expected)
    assert [name for name in expected if not torch.equal(state[name], expected[name])] == []
    return got


def prefixed(model: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "encoder.", "module.", "backbone.", "student.net.0.", "m."]
)
@pytest.mark.parametrize("form", ["train", "inference"])
def test_keys_under_any_prefix(tmp_path, model, prefix, form):
    network = model if form == "train" else reparameterize(model)
    torch.save(prefixed(network, prefix), tmp_path / "m.pt")
    assert_same(tmp_path / "m.pt", network)
    save_file(prefixed(network, prefix), tmp_path / "m.safetensors")
    assert_same(tmp_path / "m.safetensors", network)


@pytest.mark.parametrize(
    "key", ["model_state_dict", "net", "network", "weights", "params", "anything", "a.b"]
)
def test_dictionaries_under_any_key(tmp_path, model, key):
    torch.save({key: model.state_dict(), "epoch": 3}, tmp_path / "m.pt")
    assert_same(tmp_path / "m.pt", model)
    assert describe(tmp_path / "m.pt").weights_key == key


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"])
def test_wrappers_in_the_middle_of_names(tmp_path, model, wrapper):
    state = {
        name.replace("stages.", f"stages.{wrapper}.", 1).replace(".bn.", f".bn.{wrapper}."): value
        for name, value in prefixed(model, "module.").items()
    }
    torch.save({"state_dict": state}, tmp_path / "m.pt")
    assert_same(tmp_path / "m.pt", model)


def test_an_averaged_models_state(tmp_path, model):
    averaged = AveragedModel(model)
    for name, content in (("bare.pt", averaged.state_dict()), ("in.pt", {"model": averaged.state_dict()})):
        torch.save(content, tmp_path / name)
        assert_same(tmp_path / name, model)


def test_a_lightning_checkpoint_with_a_criterion(tmp_path, model):
    state = prefixed(model, "model.") | {"criterion.weight": torch.ones(5), "metric.total": torch.tensor(3)}
    momenta = {index: {"momentum_buffer": torch.zeros(3)} for index in range(4)}
    content = {
        "epoch": 3, "global_step": 10, "pytorch-lightning_version": "2.6.6", "state_dict": state, "loops": {},
        "callbacks": {"EMA": {"decay": 0.9}}, "optimizer_states": [{"state": momenta}], "lr_schedulers": [],
    }  # fmt: skip
    torch.save(content, tmp_path / "lightning.ckpt")
    with pytest.warns(
        MobileOneWarning, match=r"beside the network were left out: 2 \(criterion\.weight, metric\.total\)"
    ):
        assert_same(tmp_path / "lightning.ckpt", model)
    with pytest.warns(MobileOneWarning):
        card = describe(tmp_path / "lightning.ckpt")
    assert (card.weights_key, card.beside) == ("state_dict.model", ("criterion.weight", "metric.total"))


def test_tensors_beside_are_fatal_where_the_network_is_not_whole(tmp_path, model):
    state = prefixed(model, "model.") | {"criterion.weight": torch.ones(5)}
    del state["model.stages.1.0.conv_kxk.0.bn.weight"]
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"misses tensors: 1 \(stages\.1\.0\.conv_kxk\.0\.bn\.weight\)"):
        load_model(tmp_path / "m.pt")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap", [lambda m: m, nn.DataParallel, AveragedModel, lambda m: {"model": m, "epoch": 3}]
)
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_network_of_ours(tmp_path, model, wrap, legacy):
    path = tmp_path / "whole.pt"
    torch.save(wrap(model), path, _use_new_zipfile_serialization=not legacy)
    loaded = assert_same(path, model)
    assert loaded.class_names == tuple("abcde")
    assert loaded.input_spec == model.input_spec
    assert loaded.variant == model.variant


def test_a_whole_network_keeps_its_dilation(tmp_path, tiny):
    model = create_model(tiny, num_classes=3, output_stride=8, form="inference").eval()
    torch.save(model, tmp_path / "m.pt")
    x = torch.randn(1, 3, 64, 64)
    assert load_model(tmp_path / "m.pt").output_stride == 8
    assert torch.equal(load_model(tmp_path / "m.pt")(x), model(x))


def test_a_network_within_somebodys_module(tmp_path, model):
    class Classifier(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net, self.loss = net, nn.CrossEntropyLoss(weight=torch.ones(5))

    with elsewhere(Classifier):
        Classifier.__qualname__ = "Classifier"
        torch.save(Classifier(model), tmp_path / "m.pt")
    with pytest.warns(MobileOneWarning, match=r"left out: 1 \(loss\.weight\)"):
        assert_same(tmp_path / "m.pt", model)


def side_objects() -> dict[str, Any]:
    Settings.Kind.__module__ = Settings.__module__
    counts: defaultdict[str, int] = defaultdict(int)
    counts["seen"] = 3
    return {
        "hyper_parameters": AttributeDict(lr=0.1, mode=Mode.FAST),
        "settings": Settings(),
        "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        "numbers": [decimal.Decimal("0.1"), uuid.UUID(int=3), complex(1, 2), range(3), slice(1, 2), Ellipsis],
        "sets": {frozenset({1, 2}): {3}, Mode.FAST: 1},
        "types": [
            Optional[int],  # noqa: UP045
            int | None,
            type(None),
            torch.float16,
            torch.complex64,
            np.dtype("int8"),
            np.float32(2),
        ],
        "random": [np.random.default_rng(0), np.random.RandomState(0), torch.Generator().get_state()],
        "counts": counts,
        "scaler": torch.amp.GradScaler("cpu", enabled=False),
    }


SIDE = (*side_objects(), "all")


@pytest.mark.parametrize("name", SIDE)
def test_inert_objects_beside_good_weights(tmp_path, model, name):
    with elsewhere(Mode, AttributeDict, Settings):
        objects = side_objects()
        beside = objects if name == "all" else {name: objects[name]}
        torch.save({"state_dict": model.state_dict(), **beside}, tmp_path / "m.pt")
    assert_same(tmp_path / "m.pt", model)
    assert "some_trainer" not in sys.modules


def test_omegaconf_beside_good_weights(tmp_path, model):
    omegaconf = pytest.importorskip("omegaconf", reason="comes with executorch")
    config = omegaconf.OmegaConf.create({"optim": {"lr": 0.1, "betas": [0.9, 0.99]}, "name": None})
    torch.save({"state_dict": model.state_dict(), "cfg": config}, tmp_path / "m.pt")
    assert_same(tmp_path / "m.pt", model)


def side_tensors() -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are on their way out
        quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    with_attribute = torch.ones(3)
    with_attribute.note = "mine"  # type: ignore[attr-defined]
    return {
        "complex": torch.zeros(2, dtype=torch.complex64),
        "float8": torch.zeros(4).to(torch.float8_e4m3fn),
        "uint16": torch.zeros(4, dtype=torch.uint16),
        "sparse": torch.eye(2).to_sparse(),
        "quantised": quantised,
        "meta": torch.zeros(2, device="meta"),
        "with_attribute": with_attribute,
    }


@pytest.mark.parametrize("name", side_tensors())
def test_tensors_of_any_kind_beside_good_weights(tmp_path, model, name):
    tensor = side_tensors()[name]
    torch.save({"state_dict": model.state_dict(), "history": {"x": tensor}}, tmp_path / "m.pt")
    assert_same(tmp_path / "m.pt", model)
    torch.save({**prefixed(model, "net."), "side.x": tensor}, tmp_path / "flat.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MobileOneWarning)
        assert_same(tmp_path / "flat.pt", model)


def test_a_complex_tensor_in_an_old_file_and_in_safetensors(tmp_path, model):
    content = {"state_dict": model.state_dict(), "fft": {"x": torch.zeros(3, dtype=torch.complex64)}}
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert_same(tmp_path / "old.pt", model)
    flat = prefixed(model, "net.") | {"fft": torch.zeros(3, dtype=torch.complex64)}
    save_file(flat, tmp_path / "m.safetensors")
    with pytest.warns(MobileOneWarning, match=r"left out: 1 \(fft\)"):
        assert_same(tmp_path / "m.safetensors", model)


def test_weights_of_another_type_are_named(tmp_path, model):
    state = model.state_dict()
    state["head.fc.weight"] = state["head.fc.weight"].to(torch.complex64)
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"head\.fc\.weight must be floating point"):
        load_model(tmp_path / "m.pt")


def test_parameters_with_attributes_are_weights(tmp_path, model):
    state = dict(model.state_dict(keep_vars=True))
    state["head.fc.bias"].tag = "mine"  # type: ignore[attr-defined]
    buffer = state["stem.conv_scale.bn.running_mean"]
    buffer.tag = "mine"  # type: ignore[attr-defined]
    torch.save(state, tmp_path / "m.pt")
    assert_same(tmp_path / "m.pt", model)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_torchscript_archive_has_a_message_of_its_own(tmp_path):
    script = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    (tmp_path / "m.pt").write_bytes(buffer.getvalue())
    with pytest.raises(
        CheckpointError, match=r"m\.pt: a TorchScript archive, which is code; save the state_dict"
    ):
        load_model(tmp_path / "m.pt")
