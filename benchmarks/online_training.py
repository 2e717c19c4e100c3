"""Claims of docs/online.md: what a training step costs in time and memory, and how exact the online form is.

Forms compared, on the same weights and images, a step being forward, loss and backward:

- branches: the textbook form, k + 2 convolutions and BatchNorms a unit, as Apple's code writes it
- online:   one convolution a unit wherever it is possible
- auto:     the package's default, the faster of the two for each unit
- plain:    one convolution, BatchNorm and ReLU a unit: the floor, another network

Times are taken in turn, in one process, and compared round by round; memory is the peak of a process of its
own above what it held before its first step. Freed memory is kept, as in a run (`kept_heap`); with `--heap`
every form is timed with it kept and given back, as glibc does by itself. The branched stem runs its scale
branch on a strided copy of the image: torch 2.13's strided 1×1 convolution of 3 channels_last channels
corrupts the heap on a CPU.

    python -m benchmarks.online_training --variant s0 --device cpu  # times and memory
    python -m benchmarks.online_training --variant s0 --compile  # beside torch.compile of each form
    python -m benchmarks.online_training --heap --batch 64 --size 128  # freed memory kept, and given back
    python -m benchmarks.online_training --units  # unit by unit
    python -m benchmarks.online_training --exact  # float64, S0 to S4
    python -m benchmarks.online_training --drift  # float32, 200 steps on digits, seeds 0 to 2
    python -m benchmarks.online_training --spread 12  # top-1 of a smaller one still, seeds 0 to 11
    python -m benchmarks.online_training --accuracy digits  # top-1 and time of a small network, seeds 0 to 2
    python -m benchmarks.online_training --accuracy IMAGENETTE.zip  # of S0
    python -m benchmarks.online_training --accuracy IMAGENETTE.zip --narrow --seeds 30  # what a CPU can do
    python -m benchmarks.online_training --device cuda --all --accuracy IMAGENETTE.zip  # all

Without --batch, --size and --precision: batch 16, 160 px, float32 on a CPU; batch 256, 224 px, bf16 on CUDA.
"""

import argparse
import datetime
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mobileone
from benchmarks.online_accuracy import print_accuracy, print_drift, print_spread
from benchmarks.online_exactness import print_exactness
from mobileone.functional.online.kernel_table import online_pays
from mobileone.heap import kept_heap
from mobileone.model.block import MobileOneBlock, SqueezeExcite, spec_conv
from mobileone.reparam.fuse import replace_blocks
from mobileone.variants import BlockSpec, get_variant, network_units

FORMS = ("branches", "online", "auto", "plain")
COMPILED = " compiled"
VARIANTS = ("s0", "s1", "s2", "s3", "s4")
MIB = 2**20


class PlainBlock(nn.Module):
    """One convolution, BatchNorm, SE where the unit has it, and ReLU."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.conv = spec_conv(spec, bias=False)
        self.bn = nn.BatchNorm2d(spec.out_channels)
        self.attn = SqueezeExcite(spec.out_channels) if spec.use_se else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attn(self.bn(self.conv(x)))
        return out.relu_()


def build(name: str, form: str, device: str) -> nn.Module:
    torch.manual_seed(0)
    model = mobileone.create_model(name)
    if form == "plain":
        model = replace_blocks(model, MobileOneBlock, lambda _, block: PlainBlock(block.spec))
    else:
        mobileone.set_branch_mode(model, form)
    return model.to(device, memory_format=torch.channels_last)


def make_step(form: str, arguments: argparse.Namespace) -> Callable[[], None]:
    """One training step of a form, compiled where its name says so."""
    size, batch, device = arguments.size, arguments.batch, arguments.device
    model = build(arguments.name, form.removesuffix(COMPILED), device)
    x = torch.randn(batch, 3, size, size).to(device, memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 1000
    forward = torch.compile(model) if form.endswith(COMPILED) else model

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=arguments.precision == "bf16"):
            loss = F.cross_entropy(forward(x), labels)
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def timed(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def summary(values: list[float], digits: int = 2) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


@kept_heap()
def print_times(arguments: argparse.Namespace, *, compiled: bool) -> None:
    """Seconds of a step in every form, taken in turn, and the ratios of a round's times."""
    forms = [*FORMS, *(form + COMPILED for form in FORMS if compiled)]
    # Compiled kernels and recompiled shapes add up over variants.
    torch.compiler.reset()
    steps = {form: make_step(form, arguments) for form in forms}
    for step in steps.values():
        step()
        step()
    times: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(arguments.rounds):
        for form, step in steps.items():
            times[form].append(timed(step))
    print(f"{'form':>17}  seconds a step: median [quartiles], fastest; n = {arguments.rounds}")
    for form, values in times.items():
        print(f"{form:>17}  {summary(values, 3)}, {min(values):.3f}")
    pairs = [("branches", "auto"), ("branches", "online"), ("auto", "plain"), ("online", "plain")]
    if compiled:
        pairs += [(a + COMPILED, b + COMPILED) for a, b in pairs]
        pairs += [("branches" + COMPILED, "auto"), ("branches" + COMPILED, "online")]
    for over, under in [*pairs, ("branches", "plain")]:
        ratios = [a / b for a, b in zip(times[over], times[under], strict=True)]
        fastest = min(times[over]) / min(times[under])
        print(f"{over} ÷ {under}: {summary(ratios)}; of the fastest {fastest:.2f}", flush=True)


def print_heap(arguments: argparse.Namespace) -> None:
    """Seconds and page faults of a step with freed memory kept and given back, in turn."""
    steps = {form: make_step(form, arguments) for form in FORMS}
    found: dict[tuple[str, bool], list[tuple[float, int]]] = {}
    for _ in range(arguments.rounds):
        for form, step in steps.items():
            for kept in (False, True):
                with kept_heap() if kept else nullcontext():
                    step()
                    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                    seconds = timed(step)
                    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
                found.setdefault((form, kept), []).append((seconds, faults))
    print(f"{'form':>9}  seconds a step, given back and kept: median [quartiles]; given back ÷ kept; faults")
    for form in FORMS:
        (given, faults), (kept, fewer) = (zip(*found[form, how], strict=True) for how in (False, True))
        ratios = [a / b for a, b in zip(given, kept, strict=True)]
        print(
            f"{form:>9}  {summary(list(given), 3)}, {summary(list(kept), 3)}; {summary(ratios)}; "
            f"{statistics.median(faults):.0f}, {statistics.median(fewer):.0f}",
            flush=True,
        )


@kept_heap()
def peak_memory(form: str, arguments: argparse.Namespace) -> None:
    """In a process of its own: print the peak of one step above the start, in MiB."""
    step = make_step(form, arguments)
    if arguments.device == "cuda":
        step()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        step()
        print((torch.cuda.max_memory_allocated() - start) / MIB)
        return
    small = argparse.Namespace(**vars(arguments) | {"size": 32, "batch": 2})
    make_step(form, small)()  # libraries, threads, code
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew

    def held(field: str) -> float:
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024

    start = held("VmRSS")
    step()
    step()
    print(held("VmHWM") - start)


def print_memory(arguments: argparse.Namespace) -> None:
    peaks: dict[str, list[float]] = {}
    for form in FORMS:
        options = {
            name: getattr(arguments, name) for name in ("device", "batch", "size", "precision", "threads")
        }
        command = [sys.executable, "-m", "benchmarks.online_training", "--peak", form]
        command += ["--variant", arguments.name.removeprefix("mobileone_")]
        command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3)]
        peaks[form] = [float(run.stdout.split()[-1]) for run in runs]
        print(
            f"{form:>9}  peak above idle {', '.join(f'{peak:.0f}' for peak in peaks[form])} MiB", flush=True
        )
    middle = {form: statistics.median(values) for form, values in peaks.items()}
    print(
        f"branches ÷ auto {middle['branches'] / middle['auto']:.2f}, ÷ online "
        f"{middle['branches'] / middle['online']:.2f}; plain ÷ auto {middle['plain'] / middle['auto']:.2f}"
    )


def unit_step(block: nn.Module, x: Tensor, arguments: argparse.Namespace) -> None:
    with torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.precision == "bf16"):
        out = block(x)
    out.sum().backward()
    if arguments.device == "cuda":
        torch.cuda.synchronize()


def unit_times(spec: BlockSpec, x: Tensor, arguments: argparse.Namespace) -> tuple[dict[str, float], str]:
    """Milliseconds of a unit's step branch by branch and online, the fastest round, and what `auto` takes."""
    block = MobileOneBlock(spec).to(arguments.device, memory_format=torch.channels_last)
    times: dict[str, list[float]] = {"branches": [], "online": []}
    for _ in range(arguments.rounds + 1):
        for mode, values in times.items():
            mobileone.set_branch_mode(block, mode)
            values.append(timed(lambda: unit_step(block, x, arguments)))
    return {mode: 1000 * min(values[1:]) for mode, values in times.items()}, (
        "online" if online_pays(spec, x) else "branches"
    )


@kept_heap()
def print_units(arguments: argparse.Namespace) -> None:
    """Every distinct unit, branch by branch and online, and how near `auto` comes to the best choice."""
    found: dict[tuple[BlockSpec, int], tuple[dict[str, float], str]] = {}
    total = dict.fromkeys(("branches", "online", "auto", "the faster of each"), 0.0)
    print("unit, input size and elements: branches ms, online ms, ratio; what auto takes")
    for unit in network_units(get_variant(arguments.name)):
        spec, side = unit.block, arguments.size * unit.block.strides[0] // unit.reduction
        if (spec, side) not in found:
            x = torch.randn(arguments.batch, spec.in_channels, side, side, device=arguments.device)
            x = x.contiguous(memory_format=torch.channels_last)
            found[spec, side] = unit_times(spec, x.requires_grad_(unit.name != "stem"), arguments)
            times, chosen = found[spec, side]
            slower = times[chosen] > 1.05 * min(times.values())
            kernel = f"{spec.kernel[0]}×{spec.kernel[0]} /{spec.strides[0]} k={spec.num_conv_branches}"
            kind = f"{spec.in_channels}→{spec.out_channels} {kernel}"
            figures = " ".join(f"{ms:7.2f}" for ms in times.values())
            ratio, verdict = times["branches"] / times["online"], chosen + ("  SLOWER" if slower else "")
            print(f"{kind:>20} {side:>3} px {x.numel():>9}: {figures} {ratio:5.2f}  {verdict}", flush=True)
        times, chosen = found[spec, side]
        costs = (times["branches"], times["online"], times[chosen], min(times.values()))
        total = {name: so_far + ms for (name, so_far), ms in zip(total.items(), costs, strict=True)}
    print("all units of the network, ms: " + ", ".join(f"{name} {ms:.0f}" for name, ms in total.items()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="s0", choices=VARIANTS)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int)
    parser.add_argument("--size", type=int, help="pixels")
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--threads", default=2, type=int)
    parser.add_argument("--rounds", default=15, type=int)
    parser.add_argument("--compile", action="store_true", help="every form by torch.compile too")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--heap", action="store_true", help="freed memory kept, and given back")
    parser.add_argument("--units", action="store_true")
    parser.add_argument("--drift", action="store_true")
    parser.add_argument("--all", action="store_true", help="every row of docs/online.md on this device")
    parser.add_argument("--accuracy", metavar="DATA", help="train both ways on `digits` or a zip of images")
    parser.add_argument("--epochs", type=int, help="of --accuracy; 12 on digits, 4 if --narrow, else 30")
    parser.add_argument("--narrow", action="store_true", help="--accuracy of a small S0 at 64 px")
    parser.add_argument("--spread", type=int, metavar="SEEDS", help="many short runs of a shallow network")
    parser.add_argument("--seeds", default=3, type=int, help="of --accuracy and --drift")
    parser.add_argument("--first-seed", default=0, type=int, help="of --accuracy")
    parser.add_argument("--peak", choices=FORMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device here")
    if arguments.accuracy not in (None, "digits") and not Path(arguments.accuracy).is_file():
        parser.error(f"--accuracy takes digits or a zip of images, and there is no file {arguments.accuracy}")
    if arguments.heap and arguments.device != "cpu":
        parser.error("--heap is of a CPU's memory; leave out --device")
    if arguments.narrow and arguments.accuracy in (None, "digits"):
        parser.error("--narrow is of --accuracy on a zip of images")
    defaults = (256, 224, "bf16") if arguments.device == "cuda" else (16, 160, "fp32")
    for name, value in zip(("batch", "size", "precision"), defaults, strict=True):
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    arguments.name = f"mobileone_{arguments.variant}"
    return arguments


def print_protocol(arguments: argparse.Namespace) -> None:
    print(
        f"# {arguments.name}, batch {arguments.batch}, {arguments.size} px, {arguments.precision}, "
        "channels_last",
        flush=True,
    )


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        peak_memory(arguments.peak, arguments)
        return
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else processor()
    print(
        f"# {datetime.date.today()}, {device}, {arguments.threads} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
    parts = ("exact", "heap", "units", "drift", "spread", "accuracy")
    alone = not any(getattr(arguments, part) for part in parts)
    if arguments.all or alone:
        for variant in VARIANTS if arguments.all else [arguments.variant]:
            arguments.name = f"mobileone_{variant}"
            print_protocol(arguments)
            print_times(arguments, compiled=arguments.compile or (arguments.all and variant == "s0"))
            print_memory(arguments)
        arguments.name = f"mobileone_{arguments.variant}"
    if arguments.heap:
        print_protocol(arguments)
        print_heap(arguments)
    if arguments.all or arguments.units:
        print_protocol(arguments)
        print_units(arguments)
    if arguments.all or arguments.exact:
        print_exactness(arguments.device)
    if arguments.all or arguments.drift:
        print_drift(arguments.seeds, arguments.device)
    if arguments.spread:
        print_spread(arguments.spread, arguments.device)
    if arguments.accuracy:
        print_accuracy(arguments)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor()
    )


if __name__ == "__main__":
    main()
