"""What gpu_check.py measures: one function a check, each run in a process of its own, on CUDA or, dry, a CPU.

A check says what it found line by line, so that what it had before it failed or ran out of time is kept.
"""

from __future__ import annotations

import collections
import copy
import functools
import json
import math
import statistics
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mobileone
from benchmarks.online_training import build
from mobileone.data.loader import Batch
from mobileone.data.open import open_data
from mobileone.functional.online.moments import reference_moments
from mobileone.functional.window import Window
from mobileone.model.network import MobileOne
from mobileone.ranks.distributed import Distributed
from mobileone.training.config.recipe import recipe
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.trainer import Trainer
from mobileone.variants import Variant, get_variant, network_units

# Bounds of relative errors. In float64 by another order of sums; of moments, summed in float32; of what is
# rounded to bf16 at the end; of a step in float32 and in bf16 as many times the branches' own, luck too.
EXACT, MOMENTS, ROUNDED = 1e-8, 1e-4, 1e-2
TIMES_BRANCHES = {False: 10, True: 2}
TINY = Variant("tiny", (8, 8, 16, 16), num_conv_branches=2, depths=(1, 1, 1, 1))


class Bench:
    """Where and how large: a GPU in earnest, or a CPU to see that every line runs."""

    def __init__(self, check: str, *, dry: bool) -> None:
        self.check, self.dry = check, dry
        self.device = "cpu" if dry else "cuda"
        self.batch, self.size = (2, 32) if dry else (256, 224)

    def say(self, **values: Any) -> None:
        print("RESULT " + json.dumps({"check": self.check, **values}), flush=True)

    def within(self, error: float, bound: float, **values: Any) -> None:
        """Say an error, and if it is beyond its bound (or no number) that this has failed."""
        beyond = {} if error <= bound else {"failed": f"the error is {error:.1e}, the bound {bound:.0e}"}
        self.say(**values, error=f"{error:.1e}", **beyond)

    def guarded(self, what: str, work: Callable[[], None]) -> None:
        """One part of a check; its failure is a result."""
        try:
            work()
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.lineno}"
            self.say(what=what, failed=f"{type(error).__name__}: {str(error)[:300]}", at=where)

    def ready(self) -> None:
        if not self.dry:
            torch.cuda.synchronize()

    def network(self, name: str) -> str | Variant:
        return TINY if self.dry else name

    def milliseconds(
        self, work: Callable[[], Any], *, rounds: int = 12, warm: int = 3
    ) -> tuple[float, float]:
        """Median wall time, and how much of it the host needed to hand the work over."""
        for _ in range(1 if self.dry else warm):
            work()
        total, host = [], []
        for _ in range(2 if self.dry else rounds):
            self.ready()
            started = time.perf_counter()
            work()
            handed = time.perf_counter()
            self.ready()
            total.append(1e3 * (time.perf_counter() - started))
            host.append(1e3 * (handed - started))
        return round(statistics.median(total), 3), round(statistics.median(host), 3)

    def kernel_ms(self, work: Callable[[], Any], *, calls: int = 20) -> float:
        """A pass on the device alone: recorded many times in a graph, for the host would be slower."""
        if self.dry:
            return self.milliseconds(work)[0]
        for _ in range(3):
            work()
        self.ready()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(calls):
                work()
        return round(self.milliseconds(graph.replay)[0] / calls, 4)


def step_of(
    bench: Bench, form: str, *, name: str, batch: int, compiled: str = "", layout: torch.memory_format
) -> Callable[[], None]:
    """Forward, loss and backward in bf16."""
    model = build(bench.network(name), form, bench.device).to(memory_format=layout)
    x = torch.randn(batch, 3, bench.size, bench.size).to(bench.device, memory_format=layout)
    labels = torch.arange(batch, device=bench.device) % 1000
    call = torch.compile(model, mode=compiled) if compiled else model

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(bench.device, torch.bfloat16):
            loss = F.cross_entropy(call(x), labels)
        loss.backward()

    return step


def time_form(
    bench: Bench,
    title: str,
    form: str,
    *,
    name: str = "mobileone_s0",
    batch: int | None = None,
    compiled: str = "",
    layout: torch.memory_format = torch.channels_last,
) -> None:
    """A form's step: time, memory, and what it takes to start."""
    count = bench.batch if batch is None or bench.dry else batch

    def work() -> None:
        if not bench.dry:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            free, reserved = torch.cuda.mem_get_info()[0], torch.cuda.memory_reserved()
        step = step_of(bench, form, name=name, batch=count, compiled=compiled, layout=layout)
        started = time.perf_counter()
        step()
        bench.ready()
        first = time.perf_counter() - started
        ms, host = bench.milliseconds(step, rounds=3 if first > 3 else 12)
        found = {"form": title, "ms": ms, "host_ms": host, "images_per_second": round(1e3 * count / ms)}
        if not bench.dry:
            # What the driver keeps beside torch's allocator shows local memory for spilled registers.
            beside = free - torch.cuda.mem_get_info()[0] - (torch.cuda.memory_reserved() - reserved)
            found["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            found["beside_torch_gb"] = round(beside / 1e9, 2)
        bench.say(**found, first_s=round(first, 1))

    bench.guarded(title, work)


def env(bench: Bench) -> None:
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if not bench.dry:
        facts |= {"gpu": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version()}
    for package in ("triton", "onnxruntime"):
        bench.guarded(
            package, lambda package=package: facts.update({package: __import__(package).__version__})
        )
    bench.say(**facts)


def steps(bench: Bench) -> None:
    for form in ("plain", "branches", "online"):
        time_form(bench, form, form)
    bench.guarded("launches", lambda: _launches(bench))
    for form in ("plain", "online"):
        time_form(bench, f"S1 {form}", form, name="mobileone_s1")
        time_form(bench, f"{form}, batch 32", form, batch=32)
    time_form(bench, "branches, NCHW", "branches", layout=torch.contiguous_format)
    torch.backends.cudnn.benchmark = True
    for form in ("plain", "branches", "online"):
        time_form(bench, form + ", cudnn.benchmark", form)


def _launches(bench: Bench) -> None:
    """Kernels of a step: how many, and the longest."""
    for form in ("plain", "branches", "online"):
        step = step_of(bench, form, name="mobileone_s0", batch=bench.batch, layout=torch.channels_last)
        step()
        bench.ready()
        activity = torch.profiler.ProfilerActivity
        with torch.profiler.profile(activities=[activity.CPU if bench.dry else activity.CUDA]) as found:
            step()
            bench.ready()
        # On a GPU the host's calls that start them are recorded too.
        kinds = torch.autograd.DeviceType
        kind = kinds.CPU if bench.dry else kinds.CUDA
        events = [event for event in found.key_averages() if event.device_type == kind]
        longest = sorted(events, key=lambda event: -event.self_device_time_total)[:12]
        kernels = [(e.key[:60], e.count, round(e.self_device_time_total / 1e3, 2)) for e in longest]
        bench.say(what="launches", form=form, number=sum(e.count for e in events), longest=kernels)


def syncs(bench: Bench) -> None:
    """Where the host waits in a whole step of the trainer, and what beside forward and backward costs."""
    cases: list[dict[str, Any]] = [
        {"branch_mode": "branches"},
        {"branch_mode": "online"},
        {"branch_mode": "branches", "clip_norm": 1.0, "amp": "bf16" if bench.dry else "fp16"},
        {"branch_mode": "branches", "accumulate": 2},
    ]
    for settings in cases:
        bench.guarded(str(settings), lambda settings=settings: _count_waits(bench, settings))


def _count_waits(bench: Bench, settings: dict[str, Any]) -> None:
    count = 8 if bench.dry else 64
    values = {"model": bench.network("mobileone_s0"), "epochs": 1, "batch_size": count, "num_workers": 0}
    values |= {"input_size": bench.size if bench.dry else 128, "device": bench.device}
    config = TrainConfig().with_values(values | settings)
    device = torch.device("cpu") if bench.dry else torch.device("cuda", 0)
    run = Trainer(config, open_data("digits", split="train"), Distributed(device=device))
    run.train_mode()
    side = run.network.input_spec.size
    size = side if isinstance(side, tuple) else (side, side)
    images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)
    batch = Batch(images, torch.arange(count) % 10, torch.arange(count))
    batch = batch if bench.dry else batch.pin_memory()
    step = lambda: run.take(batch, step=50)  # noqa: E731
    step()
    step()
    bench.ready()
    if not bench.dry:
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
        torch.cuda.set_sync_debug_mode("default")
        waits = [w for w in caught if "synchroniz" in str(w.message)]
        lines = collections.Counter(f"{Path(w.filename).name}:{w.lineno}" for w in waits)
        bench.say(**settings, waits=len(waits), where=lines.most_common(8))
    ms, host = bench.milliseconds(step)
    assert run.ema is not None
    average = bench.milliseconds(lambda: run.ema.update(run.network))
    update = bench.milliseconds(run.step.optimizer.step)
    bench.say(**settings, ms=ms, host_ms=host, average_ms_host_ms=average, optimizer_ms_host_ms=update)
    run.loader.close()


def train(bench: Bench) -> None:
    """S0 by the command's own function: on Imagenette, where its zip lies about, or on the digits."""
    found = sorted(Path.cwd().glob("**/imagenette*.zip"))
    with tempfile.TemporaryDirectory() as folder:
        data = "digits"
        if found and not bench.dry:
            zipfile.ZipFile(found[0]).extractall(folder)
            data = str(next(Path(folder).glob("*/train")).parent)
        for mode in ("branches", "online"):

            def work(mode: str = mode) -> None:
                config = recipe("digits") if data == "digits" else recipe("paper_s0")
                values: dict[str, Any] = {"data": data, "epochs": 1 if bench.dry else 4, "batch_size": 64}
                values |= {"branch_mode": mode, "device": bench.device, "warmup_epochs": 0.5}
                if bench.dry:
                    values |= {"model": TINY, "num_workers": 0}
                if data != "digits":
                    values |= {
                        "input_size": 128,
                        "batch_size": 128,
                        "residual_start": True,
                        "ema_decay": 0.99,
                    }
                with tempfile.TemporaryDirectory() as runs:
                    run_dir = Path(runs) / "run"
                    result = mobileone.fit(config.with_values(values), run_dir=run_dir, progress=False)
                rows = [(r.acc1, round(r.images_per_second), round(r.data_wait, 3)) for r in result.records]
                bench.say(data=Path(data).name, mode=mode, acc1_images_per_second_data_wait=rows)

            bench.guarded(mode, work)


def exact(bench: Bench) -> None:
    """One step online against the branches in float64; TF32 is off."""
    nhwc, nchw = torch.channels_last, torch.contiguous_format
    torch.manual_seed(0)
    start = mobileone.create_model(bench.network("mobileone_s0"), num_classes=10)
    for norm in start.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.5)
    start.to(bench.device)
    torch.backends.cudnn.allow_tf32 = False
    truth = _one_step(bench, start, "branches", torch.float64, nchw, amp=False)
    rounding = {amp: [0.0] * 3 for amp in TIMES_BRANCHES}  # the branches' largest errors, by precision
    for mode, dtype, layout, amp in (
        ("online", torch.float64, nhwc, False),
        ("branches", torch.float32, nchw, False),
        ("branches", torch.float32, nhwc, False),
        ("online", torch.float32, nhwc, False),
        ("branches", torch.float32, nhwc, True),
        ("online", torch.float32, nhwc, True),
    ):

        def work(mode=mode, dtype=dtype, layout=layout, amp=amp) -> None:  # type: ignore[no-untyped-def]
            got = _one_step(bench, start, mode, dtype, layout, amp=amp)
            errors = [float((g - t).norm() / t.norm()) for g, t in zip(got, truth, strict=True)]
            bounds = [EXACT] * 3 if dtype == torch.float64 else [math.inf] * 3
            if mode == "branches":
                rounding[amp] = list(map(max, rounding[amp], errors))
            elif dtype != torch.float64:
                bounds = [TIMES_BRANCHES[amp] * error for error in rounding[amp]]
            kind = {"mode": mode, "dtype": "bf16" if amp else str(dtype)[6:], "nhwc": layout is nhwc}
            for name, error, bound in zip(("output", "gradient", "buffers"), errors, bounds, strict=True):
                bench.within(error, bound, **kind, of=name)

        bench.guarded(f"{mode} {dtype}", work)


def _one_step(
    bench: Bench, start: nn.Module, mode: Any, dtype: torch.dtype, layout: torch.memory_format, *, amp: bool
) -> tuple[Tensor, Tensor, Tensor]:
    model = mobileone.set_branch_mode(copy.deepcopy(start).to(dtype), mode).to(memory_format=layout)
    shape = (2, 3, 32, 32) if bench.dry else (16, 3, 64, 64)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(shape[0], 10, generator=torch.Generator().manual_seed(2)).to(bench.device, dtype)
    with torch.autocast(bench.device, torch.bfloat16, enabled=amp):
        out = model(x.to(bench.device, dtype).contiguous(memory_format=layout))
    (out.to(dtype) * weight).sum().backward()
    grads = torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])
    return out.detach().double(), grads, torch.cat([b.double().flatten() for b in model.buffers()])


def kernels(bench: Bench) -> None:
    """Each depthwise shape of S0: right, and how fast beside cuDNN's convolution, in GB/s."""
    from mobileone.functional.kernels import depthwise_moments

    seen = set()
    for unit in network_units(get_variant("mobileone_s0")):
        spec = unit.block
        if spec.groups == 1 or (spec, unit.reduction) in seen:
            continue
        seen.add((spec, unit.reduction))
        side = (bench.size // unit.reduction or 1) * spec.strides[0]
        channels = 16 if bench.dry else spec.in_channels
        window = Window.of(spec)

        def work(side=side, channels=channels, window=window) -> None:  # type: ignore[no-untyped-def]
            dtype = torch.float32 if bench.dry else torch.bfloat16
            x = torch.randn(bench.batch, channels, side, side, device=bench.device, dtype=dtype) + 1
            x = x.contiguous(memory_format=torch.channels_last)
            flat, few = window.flat(), x[:2].contiguous(memory_format=torch.channels_last)
            wanted = reference_moments(few.double(), window, groups=channels)
            *_, cov = depthwise_moments.depthwise_moments(few, flat)
            error = float(((cov - wanted.cov).abs().max() / wanted.cov.abs().max()).item())
            moments = bench.kernel_ms(lambda: depthwise_moments.depthwise_moments(x, flat))
            shape = {"channels": channels, "side": side, "stride": window.stride[0]}
            found = {"kernel": "moments", "ms": moments, "gb_s": _gb_s(x.nbytes, moments)}
            bench.within(error, MOMENTS, **shape, **found)
            if not bench.dry:
                _check_passes(bench, few, window, shape)
                _time_passes(bench, x, window, shape)
            weight = torch.randn(channels, 1, 3, 3, device=bench.device, dtype=dtype)
            convolve = lambda: F.conv2d(x, weight, None, window.stride, 1, 1, channels)  # noqa: E731
            y = convolve()
            backward = lambda: torch.ops.aten.convolution_backward(  # noqa: E731
                y,
                x,
                weight,
                None,
                window.stride,
                (1, 1),
                (1, 1),
                False,
                (0, 0),
                channels,
                (True, True, False),
            )
            times = {"forward": bench.kernel_ms(convolve), "backward": bench.kernel_ms(backward)}
            bench.say(**shape, torchs_convolution_ms=times)

        bench.guarded(str(spec)[:60], work)


def _gb_s(num_bytes: int, ms: float) -> int:
    return round(num_bytes / max(ms, 1e-6) / 1e6)


def _check_passes(bench: Bench, x: Tensor, window: Window, shape: dict[str, int]) -> None:
    """The Triton passes without the moments' part, against torch in float64; `exact` has them whole."""
    from mobileone.functional.kernels import depthwise_backward_triton as backward
    from mobileone.functional.kernels import depthwise_convolution_triton as forward

    channels = x.shape[1]
    kernel, bias, shift = (torch.randn(*s, channels, device=x.device) for s in ((9,), (), ()))
    no_slopes, no_offsets = (torch.zeros(*s, channels, device=x.device) for s in ((9, 9), (9,)))
    exact_x = x.double().requires_grad_()
    weight = kernel.double().T.reshape(channels, 1, 3, 3).requires_grad_()
    wanted = F.conv2d(exact_x, weight, bias.double(), window.stride, 1, 1, channels).relu()
    y = forward.convolution(x, kernel, bias, window, relu=True)
    grad = torch.randn_like(y)
    # The mask is that of the rounded output, where a pixel may be 0 that is hardly more.
    wanted_x, wanted_kernel = torch.autograd.grad(wanted, (exact_x, weight), grad.double() * (y > 0))
    of_kernel = forward.kernel_gradient(x, shift, grad, y, window)
    found = {
        "convolution": (y, wanted),
        "kernel_gradient": (torch.addcmul(of_kernel[:-1], of_kernel[-1], shift).T, wanted_kernel.flatten(1)),
        "input_gradient": (
            backward.input_gradient(x, shift, no_slopes, no_offsets, grad, y, kernel, window),
            wanted_x,
        ),
    }
    for name, (ours, exact) in found.items():
        error = float(((ours.double() - exact).norm() / exact.norm()).item())
        bench.within(error, ROUNDED, **shape, kernel=name)


def _time_passes(bench: Bench, x: Tensor, window: Window, shape: dict[str, int]) -> None:
    """The Triton passes behind the moments."""
    from mobileone.functional.kernels import depthwise_backward_triton as backward
    from mobileone.functional.kernels import depthwise_convolution_triton as forward

    channels = x.shape[1]
    kernel, bias, shift = (torch.randn(*s, channels, device=x.device) for s in ((9,), (), ()))
    slopes, offsets = (torch.randn(*s, channels, device=x.device) for s in ((9, 9), (9,)))
    slopes = slopes + slopes.transpose(0, 1)
    y = forward.convolution(x, kernel, bias, window, relu=True)
    grad = torch.randn_like(y)
    for name, work, num_bytes in (
        ("convolution", lambda: forward.convolution(x, kernel, bias, window, relu=True), x.nbytes + y.nbytes),
        (
            "kernel_gradient",
            lambda: forward.kernel_gradient(x, shift, grad, y, window),
            x.nbytes + 2 * y.nbytes,
        ),
        (
            "input_gradient",
            lambda: backward.input_gradient(x, shift, slopes, offsets, grad, y, kernel, window),
            2 * (x.nbytes + y.nbytes),
        ),
    ):
        ms = bench.kernel_ms(work)
        bench.say(**shape, kernel=name, ms=ms, gb_s=_gb_s(num_bytes, ms))


def serve(bench: Bench) -> None:
    """Inference of a fused network: PyTorch eager and as a CUDA graph, AOTInductor, ONNX Runtime, `bench`."""
    torch.backends.cudnn.allow_tf32 = False  # so that float32 is
    model = mobileone.create_model(bench.network("mobileone_s0"), form="inference").eval()
    if bench.dry:
        model.set_input_size(bench.size)
    own = copy.deepcopy(model).to(bench.device, memory_format=torch.channels_last)
    for batch in (1, bench.batch):
        for dtype in (torch.float32, torch.bfloat16):

            def work(batch=batch, dtype=dtype) -> None:  # type: ignore[no-untyped-def]
                network = copy.deepcopy(own).to(dtype)
                x = torch.randn(batch, 3, bench.size, bench.size, device=bench.device, dtype=dtype)
                x = x.contiguous(memory_format=torch.channels_last)
                with torch.inference_mode():
                    ms, host = bench.milliseconds(lambda: network(x))
                    found: dict[str, Any] = {
                        "batch": batch,
                        "dtype": str(dtype)[6:],
                        "ms": ms,
                        "host_ms": host,
                    }
                    if not bench.dry:
                        graph = torch.cuda.CUDAGraph()
                        with torch.cuda.graph(graph):
                            network(x)
                        found["graph_ms"] = bench.milliseconds(graph.replay)[0]
                bench.say(through="PyTorch", **found)

            bench.guarded(f"PyTorch {batch} {dtype}", work)
    bench.guarded("ONNX Runtime", lambda: _serve_onnx(bench, model))
    bench.guarded("bench", lambda: _serve_bench(bench, model))
    bench.guarded("AOTInductor", lambda: _serve_aoti(bench, own))


def _serve_onnx(bench: Bench, model: nn.Module) -> None:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        mobileone.export(model, path, format="onnx")
        for provider in ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"):
            if provider not in onnxruntime.get_available_providers():
                bench.say(through=provider, what="is not in this onnxruntime")
                continue
            asked = {"use_tf32": "0"} if provider == "CUDAExecutionProvider" else {}

            def work(provider: str = provider, asked: dict[str, str] = asked) -> None:
                session = onnxruntime.InferenceSession(path, providers=[(provider, asked)])
                given = {session.get_inputs()[0].name: torch.randn(1, 3, bench.size, bench.size).numpy()}
                ms = bench.milliseconds(functools.partial(session.run, None, given))[0]
                bench.say(through=provider, runs_on=session.get_providers()[0], batch=1, ms=ms)

            bench.guarded(provider, work)


def _serve_aoti(bench: Bench, model: nn.Module) -> None:
    x = torch.randn(1, 3, bench.size, bench.size, device=bench.device)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        started = time.perf_counter()
        program = torch.export.export(model, (x,))
        path = torch._inductor.aoti_compile_and_package(program, package_path=f"{folder}/network.pt2")
        seconds = round(time.perf_counter() - started, 1)
        loaded = torch._inductor.aoti_load_package(path)
        bench.say(
            through="AOTInductor", batch=1, ms=bench.milliseconds(lambda: loaded(x))[0], compile_s=seconds
        )


def _serve_bench(bench: Bench, model: MobileOne) -> None:
    """The command's own function: with copies and without, each candidate in a process of its own."""
    baselines = ("PyTorch fused, channels_last", *(() if bench.dry else ("PyTorch CUDA graph",)))
    found = mobileone.bench(
        model,
        device=bench.device,
        backends=("onnx",),
        precisions=("fp32",) if bench.dry else ("fp32", "bf16", "fp16"),
        baselines=baselines,
        runs=2 if bench.dry else 60,
        progress=False,
    )
    for row in found.rows:
        with_copies, without = (
            each and round(each.median_ms, 3) for each in (row.latency, row.device_latency)
        )
        figures = {"ms": with_copies, "on_device_ms": without, "gpu_bytes": row.device_bytes}
        bench.say(through="bench", row=row.name, **figures, reason=row.reason)
    bench.say(through="bench", accelerator=found.protocol.accelerator, use=str(found))


def compiled(bench: Bench) -> None:
    time_form(bench, "plain compiled", "plain", compiled="default")
    time_form(bench, "online compiled", "online", compiled="default")
    if not bench.dry:
        time_form(bench, "branches compiled", "branches", compiled="default")
        torch._dynamo.reset()
        time_form(bench, "online compiled, CUDA graphs", "online", compiled="reduce-overhead")


CHECKS: dict[str, tuple[Callable[[Bench], None], int]] = {
    "env": (env, 40),
    "steps": (steps, 120),
    "syncs": (syncs, 60),
    "exact": (exact, 60),
    "kernels": (kernels, 100),
    "train": (train, 120),
    "serve": (serve, 150),
    "compiled": (compiled, 240),
}
"""Each check and its limit in seconds, in the order of what one would least like to be without."""
