"""The device that a name and a rank mean."""

import pytest
import torch

from mobileone.errors import ConfigError
from mobileone.ranks.device import check_device, pick_device


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="device must be auto"):
        pick_device("tpu?")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", local_rank=1) == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="cuda:2 wanted, 2 CUDA devices found"):
        pick_device("cuda", local_rank=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"cuda:0 wanted, 0 CUDA devices found; pass device=cpu$"):
        pick_device("cuda")


def test_a_rank_that_is_shown_one_gpu_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert pick_device("auto", local_rank=3) == torch.device("cuda", 0)
    with pytest.raises(ConfigError, match="cuda:1 wanted, 1 CUDA devices found"):
        pick_device("cuda:1", local_rank=1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(ConfigError, match="cuda:3 wanted, 1 CUDA devices found; start fewer ranks"):
        pick_device("auto", local_rank=3)


@pytest.mark.parametrize("wrong", ["gpu", "Cpu", None, 1.5, "cuda:x"])
def test_what_is_no_device_is_refused(wrong) -> None:
    with pytest.raises(
        ConfigError, match="device must be cpu, cuda, cuda:N or another that PyTorch knows, got"
    ):
        check_device(wrong)


def test_a_device_that_is_not_here_is_refused() -> None:
    assert check_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device cuda:99 is not here \(.+\); give another, such as cpu"):
        check_device("cuda:99")
    with pytest.raises(ConfigError, match="device mps is not here"):
        pick_device("mps")
