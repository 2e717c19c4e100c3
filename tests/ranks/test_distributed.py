"""Two real ranks over gloo against one process with the whole batch."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mobileone.errors import ConfigError, PreemptedError
from mobileone.ranks import distributed as module
from mobileone.ranks.distributed import Distributed, distributed

RANKS = """
import warnings, torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from mobileone.data.digits import load_digits
from mobileone.errors import DataError
from mobileone.evaluation.evaluate import evaluate
from mobileone.model.create import create_model
from mobileone.ranks.distributed import distributed
from mobileone.model.sync_batch_norm import convert_sync_batch_norm
from mobileone.training.run.ddp import BUFFER_OPTION
from mobileone.variants import Variant

warnings.simplefilter("error")
torch.set_num_threads(1)
TINY = Variant("tiny", (8, 8, 16, 16), num_conv_branches=2, depths=(1, 1, 1, 1))

def network(seed):
    torch.manual_seed(seed)
    return create_model(TINY, num_classes=10).double().train()

def batch():
    g = torch.Generator().manual_seed(1)
    return (torch.randn(6, 3, 32, 32, generator=g).double() * 3 + 50, torch.arange(6))

def one_step(model, x, y):
    out = model(x)
    nn.functional.cross_entropy(out, y).backward()
    return out.detach()

def check_one_step(this):
    # Unequal shares of the batch; the loss is weighted so that DDP's mean is that of the whole batch.
    x, y = batch()
    share = slice(0, 4) if this.rank == 0 else slice(4, 6)
    model = network(0)
    names = list(model.state_dict())
    wrapped = DistributedDataParallel(convert_sync_batch_norm(model), **{BUFFER_OPTION: False})
    assert list(model.state_dict()) == names
    out = wrapped(x[share])
    (nn.functional.cross_entropy(out, y[share], reduction="sum") * 2 / 6).backward()
    alone = network(0)
    expected = one_step(alone, x, y)
    torch.testing.assert_close(out.detach(), expected[share], rtol=1e-9, atol=1e-9)
    for (name, p), q in zip(model.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-7, atol=1e-9, msg=lambda t: f"{name}: {t}")
    for (name, p), q in zip(model.named_buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-9, msg=lambda t: f"{name}: {t}")

with distributed("cpu") as this:
    assert dist.is_initialized() and (this.world_size, dist.get_backend()) == (2, "gloo")
    assert this.reduce_sum(torch.tensor([1.0, this.rank])).tolist() == [2.0, 1.0]
    assert this.gather(f"rank {this.rank}") == ["rank 0", "rank 1"]
    assert this.from_main(lambda: this.rank) == 0
    def fail():
        raise DataError("on the main rank")
    try:
        this.from_main(fail)
        raise SystemExit("no error")
    except DataError as error:
        assert str(error) == "on the main rank"

    check_one_step(this)

    # Weights of its own on each rank until rank 0's are broadcast; then every image counts once.
    model = network(this.rank).float().eval()
    this.broadcast_(model.state_dict().values())
    model.set_input_size(32)
    result = evaluate(model, "digits", dist=this, progress=False)
    alone = evaluate(network(0).float().eval().set_input_size(32) or model, "digits", progress=False)
    assert result.num_images == 360
    assert (result.acc1, result.acc5) == (alone.acc1, alone.acc5)
    assert abs(result.loss - alone.loss) < 1e-5
assert not dist.is_initialized()
print(f"rank {this.rank} done")
"""


def torchrun(script: Path, *args: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.run(
        [*command, str(script), *args],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_two_ranks_agree_with_one_process(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    done = torchrun(script)
    assert done.returncode == 0, done.stderr[-4000:]
    # Not line by line: gloo prints to the same pipe, now and then into the middle of a line.
    assert all(f"rank {rank} done" in done.stdout for rank in (0, 1))


def test_alone_every_collective_gives_back_its_own() -> None:
    with distributed("cpu") as this:
        assert (this.rank, this.world_size, this.is_main) == (0, 1, True)
        assert not torch.distributed.is_initialized()
        value = torch.ones(2)
        total = this.reduce_sum(value)
        assert torch.equal(total, value)
        assert total.data_ptr() != value.data_ptr()
        assert this.gather("a") == ["a"]
        assert this.from_main(lambda: 7) == 7
        this.broadcast_([value])


def test_the_group_is_left_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    calls: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda **options: calls.append(options["backend"])
    )
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: calls.append("destroyed"))

    def fail() -> None:
        with distributed("auto") as this:
            assert (this.rank, this.world_size, this.is_main) == (1, 2, False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert calls == ["gloo", "destroyed"]


@pytest.fixture
def rank_of_gpus(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Rank 2 of 4 with a GPU each, as this process is made to believe.

    `done` has what was done with the group; `gpus` are those that the ranks tell of themselves.
    """
    this = SimpleNamespace(done=[], gpus=[*"abcd"])
    for name, value in {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    for name in ("CUDA_VISIBLE_DEVICES", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    store = torch.distributed.HashStore()

    def rendezvous(url: str, rank: int, world_size: int) -> Iterator[tuple[Any, int, int]]:
        assert url == "env://"
        for other, uuid in enumerate(this.gpus):
            store.set(f"gpu/{other}", f"{uuid} {platform.node()}")
        yield store, rank, world_size

    monkeypatch.setattr(module, "rendezvous", rendezvous)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=this.gpus[2])
    )
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda **options: this.done.append(options))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: this.done.append("left"))
    this.store = store
    return this


@pytest.mark.parametrize("visible", ["2", None])
def test_a_group_on_gpus_has_its_device_gloo_for_the_cpu_and_a_timeout(
    rank_of_gpus: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    device = torch.device("cuda", 0 if visible else 2)
    with distributed("auto", timeout_s=90) as this:
        assert this.device == device
    launch = {"store": rank_of_gpus.store, "rank": 2, "world_size": 4}
    wanted = {"backend": "cpu:gloo,cuda:nccl", "device_id": device, "timeout": timedelta(seconds=90)}
    assert rank_of_gpus.done == [wanted | launch, "left"]
    with pytest.raises(ConfigError, match="4 processes cannot share"), distributed(f"{device}"):
        pass


def test_ranks_that_share_a_gpu_are_refused_before_nccl_starts(rank_of_gpus: SimpleNamespace) -> None:
    rank_of_gpus.gpus = [*"abad"]
    with (
        pytest.raises(ConfigError, match=r"ranks 0, 2 would share .*CUDA_VISIBLE_DEVICES"),
        distributed("auto"),
    ):
        pass
    assert rank_of_gpus.done == []


@pytest.mark.parametrize(("error", "left"), [(ZeroDivisionError(), False), (PreemptedError("all"), True)])
def test_a_rank_of_gpus_that_fails_alone_does_not_wait_for_the_others(
    rank_of_gpus: SimpleNamespace, error: Exception, left: bool
) -> None:
    with pytest.raises(type(error)), distributed("auto"):
        raise error
    assert ("left" in rank_of_gpus.done) is left


LEFT = """
import sys
import torch.distributed as dist
from mobileone.cli.main import run_and_end
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
def work():
    if sys.argv[1] == "raise":
        raise ZeroDivisionError("by rank 0")
    return int(sys.argv[1])
try:
    print("code", run_and_end(work))
finally:
    print("not the end")
"""


@pytest.mark.parametrize(("told", "code"), [("3", 3), ("raise", 1)])
def test_a_process_with_a_group_that_it_could_not_leave_ends_at_once(told: str, code: int) -> None:
    command = [sys.executable, "-c", "import mobileone.ranks.distributed\n" + LEFT, told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (code, "")
    assert ("ZeroDivisionError: by rank 0" in done.stderr) is (told == "raise")


def test_what_lies_on_the_cpu_stays_there_where_gloo_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy to the GPU and back would wait for it."""
    seen = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda value: seen.append(value.device.type))
    two = Distributed(world_size=2, device=torch.device("meta"))
    for backend in ("cpu:gloo,cuda:nccl", "cuda:nccl"):
        monkeypatch.setattr(torch.distributed, "get_backend_config", lambda backend=backend: backend)
        if backend == "cuda:nccl":  # a group that somebody else has made
            with pytest.raises(NotImplementedError, match="meta"):  # on the way back
                two.reduce_sum(torch.ones(2))
        else:
            assert two.reduce_sum(torch.ones(2)).tolist() == [1.0, 1.0]
    assert seen == ["cpu", "meta"]


def test_a_broken_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigError, match="RANK must be a number, got 'first'"), distributed("cpu"):
        pass
