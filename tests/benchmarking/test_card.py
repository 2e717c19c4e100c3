"""Which GPU is meant."""

import sys

import pytest
import torch

from mobileone.benchmarking.card import Card, find_card
from mobileone.errors import ConfigError


def test_the_processor_is_no_card():
    assert find_card("cpu") is None


@pytest.mark.parametrize("device", ["auto", "cuda:", "cuda:x", "mps", "gpu", ""])
def test_other_names_are_refused(device):
    with pytest.raises(ConfigError, match="bench runs on cpu, cuda or cuda:N, got device"):
        find_card(device)


def test_tensorrt_is_a_way_and_no_card():
    with pytest.raises(ConfigError, match="got device 'tensorrt:0'; TensorRT is measured on cuda"):
        find_card("tensorrt:0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_without_a_gpu_it_says_so(device):
    with pytest.raises(ConfigError, match=r"device cuda:[03] is not here \(.*\); give another, such as cpu"):
        find_card(device)


def test_without_torch_the_sessions_are_left_to_find_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    card = find_card("cuda")
    assert card == Card(device="cuda:0", name=None)
    assert (str(card), card.used_bytes()) == ("a GPU (cuda:0)", None)


def test_it_is_named_with_what_drives_it_and_knows_its_memory(monkeypatch):
    card = Card(device="cuda:1", name="NVIDIA H100", versions={"CUDA": "12.8"})
    assert (str(card), card.number) == ("NVIDIA H100 (cuda:1), CUDA 12.8", "1")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: {"cuda:1": (60, 80)}[device])
    assert card.used_bytes() == 20


@pytest.mark.gpu
def test_the_first_gpu():
    card = find_card("cuda")
    assert card.device == "cuda:0"
    assert card.name == torch.cuda.get_device_name(0)
    assert card.used_bytes() > 0
