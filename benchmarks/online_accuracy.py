"""Whether training online comes to what training by the branches does: loss curves, and top-1 over seeds.

What `benchmarks.online_training` prints by `--drift`, `--spread` and `--accuracy`. How far rounding takes a
form from itself is told by the branches in another memory layout: the same sums in another order.
"""

import argparse
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mobileone
from mobileone.data.open import open_data
from mobileone.data.pixels import to_tensor
from mobileone.training.config.recipe import RECIPES
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.method.initial import start_residual_
from mobileone.training.run.fit import fit
from mobileone.variants import BranchMode, Variant

STEPS, BATCH, SIZE, LR, WARM_UP = 200, 64, 32, 0.05, 0.1
SPANS = ((0, 5), (5, 20), (20, 100), (100, STEPS))
# S0 with all its units and branches, a quarter as wide; and fewer of its units, so that many runs are cheap.
QUARTER = Variant("S0 a quarter as wide", (16, 32, 64, 256), num_conv_branches=4)
SHALLOW = replace(QUARTER, name="S0 a quarter as wide, 13 units", depths=(1, 2, 2, 1))
NUM_SEEN = 500


class Form(NamedTuple):
    """A way to compute the same network."""

    title: str
    mode: BranchMode
    channels_last: bool


FORMS = (
    Form("branches", "branches", True),
    Form("online", "online", True),
    Form("branches, NCHW", "branches", False),
)


def digits() -> tuple[Tensor, Tensor]:
    """All 1797 images in [−1, 1], (N, 3, SIZE, SIZE), and labels, in a fixed random order."""
    pixels, labels = [], []
    for split in ("train", "val"):
        data = open_data("digits", split=split)
        pixels += [to_tensor(data.read(index).decode()) for index in range(len(data.labels))]
        labels += list(data.labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = F.interpolate(torch.stack(pixels).float() / 127.5 - 1, size=(SIZE, SIZE), mode="bilinear")
    return images[order], torch.tensor(labels)[order]


def train(
    form: Form, network: Variant, images: Tensor, labels: Tensor, *, seed: int, residual: bool
) -> tuple[Tensor, nn.Module]:
    """Loss of every step, (STEPS,), and the network; the same images in the same order for every form.

    SGD with momentum, learning rate on a cosine; with the residual start also a warm-up. In the images' dtype
    and on their device.
    """
    torch.manual_seed(seed)
    model = mobileone.create_model(network, num_classes=10)
    if residual:
        start_residual_(model)
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    mobileone.set_branch_mode(model, form.mode).to(images.device, images.dtype, memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    schedule: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, STEPS
    )
    if residual:
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LR, total_steps=STEPS, pct_start=WARM_UP, cycle_momentum=False
        )
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(STEPS):
        index = torch.randperm(len(images), generator=generator)[:BATCH]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images[index].contiguous(memory_format=layout)), labels[index])
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64), model


def title(network: Variant, images: Tensor, *, residual: bool) -> str:
    start = "warm-up and residual start" if residual else "neither warm-up nor residual start"
    return (
        f"# {network.name}, {len(images)} digits at {SIZE} px, batch {BATCH}, {STEPS} steps, SGD 0.9, cosine "
        f"from {LR}, {start}, {str(images.dtype).removeprefix('torch.')}"
    )


def print_drift(seeds: int, device: str) -> None:
    """How soon loss curves part, against how soon the branched form parts from itself, reordered.

    In float64, where rounding hardly grows in that many steps, and in float32.
    """
    images, labels = digits()
    for network, dtype in ((SHALLOW, torch.float64), (QUARTER, torch.float32)):
        print_curves(network, images.to(device, dtype), labels.to(device), seeds=seeds)


def print_curves(network: Variant, images: Tensor, labels: Tensor, *, seeds: int) -> None:
    """Every form's distance from the loss curve of the branches."""
    print(title(network, images, residual=True))
    steps = ", ".join(f"{first + 1}–{last}" for first, last in SPANS)
    print(f"# mean |loss − the branches' loss| in steps {steps}; mean loss of the last 20 steps")
    for seed in range(seeds):
        reference = None
        for form in FORMS:
            losses, _ = train(form, network, images, labels, seed=seed, residual=True)
            reference = losses if reference is None else reference
            apart = (losses - reference).abs()
            drift = ", ".join(f"{apart[first:last].mean():.1e}" for first, last in SPANS)
            print(f"seed {seed} {form.title:>14}: {drift}; {losses[-20:].mean():.4f}", flush=True)


def print_spread(seeds: int, device: str) -> None:
    """A shallow network on few images, by many seeds."""
    for residual in (True, False):
        print_seeds(range(seeds), device, residual=residual)


def print_seeds(seeds: range, device: str, *, residual: bool) -> None:
    """Top-1 and loss of every form on the images that were not trained on."""
    images, labels = (value.to(device) for value in digits())
    seen, held = slice(0, NUM_SEEN), slice(NUM_SEEN, None)
    print(title(SHALLOW, images[seen], residual=residual))
    found = Runs()
    for seed in seeds:
        for form in FORMS:
            _, model = train(form, SHALLOW, images[seen], labels[seen], seed=seed, residual=residual)
            with torch.no_grad():
                logits = model.eval()(images[held])
            top1 = 100 * (logits.argmax(1) == labels[held]).float().mean().item()
            loss = F.cross_entropy(logits, labels[held]).item()
            found.add(form, top1=top1, loss=loss)
            print(f"seed {seed} {form.title:>14}: top-1 {top1:5.2f} %, loss {loss:.4f}", flush=True)
    found.print_summary()


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """The folder inside a zip that has train/ and val/."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as images:
            images.extractall(folder)
        (root,) = (path.parent for path in Path(folder).glob("*/train"))
        yield root


def print_accuracy(arguments: argparse.Namespace) -> None:
    """Top-1 and time of training by the branches and online, one recipe, on Imagenette or digits."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    own = {"compute.device": arguments.device}
    if arguments.accuracy == "digits":
        epochs = arguments.epochs or 12
        print(f"# {QUARTER.name} on digits, {epochs} epochs, batch 64, 32 px, the recipe `digits`")
        print_runs(RECIPES["digits"]().with_values({"model": QUARTER, "epochs": epochs, **own}), seeds)
        return
    with unpacked(Path(arguments.accuracy)) as root:
        values = {"data": str(root), **own}
        if arguments.narrow:
            epochs = arguments.epochs or 4
            print(f"# {SHALLOW.name} on Imagenette, {epochs} epochs, 64 px, the recipe `imagenette`")
            narrow = {"model": SHALLOW, "epochs": epochs, "progressive": (), "input_spec.size": 64}
            config = RECIPES["imagenette"]().with_values({**values, **narrow, "loading.num_workers": 0})
            print_runs(config, seeds, FORMS[:2])
            return
        epochs = arguments.epochs or 30
        print(f"# S0 on {Path(arguments.accuracy).name}, {epochs} epochs, batch 128, 128 px, crop and flip")
        config = RECIPES["paper_s0"]().with_values(
            {
                **values,
                "epochs": epochs,
                "batch_size": 128,
                "optim.base_lr": 0.2,
                "optim.warmup_epochs": min(2, epochs),
                "residual_start": True,
                "input_spec.size": 128,
                "augment.crop_scale": (0.35, 1.0),
                "optim.ema_decay": 0.99,
            }
        )
        print_runs(config, seeds)


def print_runs(config: TrainConfig, seeds: range, forms: Sequence[Form] = FORMS) -> None:
    """Every form with every seed, then each form's figures and its differences from the branches' runs."""
    found = Runs()
    for seed in seeds:
        for form in forms:
            own = config.with_values(
                {
                    "seed": seed,
                    "eval_every": config.epochs,
                    "compute.branch_mode": form.mode,
                    "compute.channels_last": form.channels_last,
                }
            )
            start = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                result = fit(own, run_dir=folder, progress=False)
            loss = result.records[-1].train_loss
            found.add(form, top1=result.last.acc1, loss=loss)
            print(
                f"seed {seed} {form.title:>14}: top-1 {result.last.acc1:6.2f} %, last epoch's training loss "
                f"{loss:.4f}, {result.seconds:.0f} s training, processor {time.process_time() - start:.0f} s",
                flush=True,
            )
    found.print_summary()


class Runs:
    """Figures of every form, seed by seed."""

    def __init__(self) -> None:
        self.values: dict[str, dict[Form, list[float]]] = {}

    def add(self, form: Form, **figures: float) -> None:
        """Note one run."""
        for name, value in figures.items():
            self.values.setdefault(name, {}).setdefault(form, []).append(value)

    def print_summary(self) -> None:
        """Mean and spread of each form, and the same of its differences from the branches, seed by seed."""
        if any(len(runs) < 2 for by_form in self.values.values() for runs in by_form.values()):
            return
        print("mean ± standard deviation over seeds (difference from the branches ± its standard error)")
        for form in next(iter(self.values.values())):
            figures = [f"{name} {compared(by_form, form)}" for name, by_form in self.values.items()]
            print(f"{form.title:>14}: {', '.join(figures)}", flush=True)


def compared(values: dict[Form, list[float]], form: Form) -> str:
    """A form's mean and spread; beside it, but for the branches, its mean difference from them."""
    own, branches = values[form], values[FORMS[0]]
    text = f"{statistics.mean(own):.4g} ± {statistics.stdev(own):.2g}"
    if form is FORMS[0]:
        return text
    apart = [a - b for a, b in zip(own, branches, strict=True)]
    return f"{text} ({statistics.mean(apart):+.2g} ± {statistics.stdev(apart) / len(apart) ** 0.5:.2g})"
