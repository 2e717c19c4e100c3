"""Whether training online comes to what training by the branches does: loss curves, and top-1 over seeds.

`benchmarks.online_training --drift` and `--accuracy` print it. What one form may differ from another is told
by the branched form in another memory layout: the same function, its sums in another order.
"""

import argparse
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import mobileone
from mobileone.evaluation.run import open_data
from mobileone.train.config import TrainConfig
from mobileone.train.initial import start_residual_
from mobileone.train.loop import fit
from mobileone.train.recipe import RECIPES
from mobileone.variants import BranchMode, Variant

STEPS, BATCH, SIZE, LR = 200, 64, 32, 0.1
SPANS = ((0, 5), (5, 20), (20, 100), (100, STEPS))
# S0 with all its units and branches, a quarter as wide: 9 runs take minutes on one core.
QUARTER = Variant("s0_quarter", (16, 32, 64, 256), num_conv_branches=4)


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
    """Training images in [−1, 1], (N, 3, SIZE, SIZE), and labels."""
    data = open_data("digits", split="train")
    pixels = torch.stack([data.read(index).decode() for index in range(len(data.labels))]).float()
    return F.interpolate(pixels / 127.5 - 1, size=(SIZE, SIZE), mode="bilinear"), torch.tensor(data.labels)


def loss_curve(form: Form, images: Tensor, labels: Tensor, *, seed: int, residual: bool) -> Tensor:
    """Loss of every step, SGD with momentum and a warm-up, the same images in the same order."""
    torch.manual_seed(seed)
    model = mobileone.create_model(QUARTER, num_classes=10)
    if residual:
        start_residual_(model)
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    mobileone.set_branch_mode(model, form.mode).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR, total_steps=STEPS, pct_start=0.1, cycle_momentum=False, anneal_strategy="cos"
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
    return torch.tensor(losses)


def print_drift(seeds: int) -> None:
    """Float32: how soon loss curves part, against how soon the branched form parts from itself, reordered."""
    images, labels = digits()
    steps = ", ".join(f"{first + 1}–{last}" for first, last in SPANS)
    for residual in (True, False):
        print(
            f"# S0 a quarter as wide, digits at {SIZE} px, batch {BATCH}, {STEPS} steps, SGD 0.9, warm-up, "
            f"cosine from {LR}, float32, residual start: {'yes' if residual else 'no'}\n"
            f"# mean |loss − loss of the branches| in steps {steps}; mean loss in the last 20 steps"
        )
        for seed in range(seeds):
            reference = None
            for form in FORMS:
                losses = loss_curve(form, images, labels, seed=seed, residual=residual)
                reference = losses if reference is None else reference
                apart = (losses - reference).abs()
                drift = ", ".join(f"{apart[first:last].mean():.1e}" for first, last in SPANS)
                print(f"seed {seed} {form.title:>14}: {drift}; {losses[-20:].mean():.4f}", flush=True)


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
    if arguments.accuracy == "digits":
        epochs = arguments.epochs or 12
        config = replace(RECIPES["digits"](), model=QUARTER, epochs=epochs, device=arguments.device)
        print(f"# S0 a quarter as wide on digits, {epochs} epochs, batch 64, 32 px, the recipe `digits`")
        print_runs(config, arguments.seeds)
        print("# the same without residual start and warm-up")
        print_runs(replace(config, residual_start=False, warmup_epochs=0.0), arguments.seeds)
        return
    epochs = arguments.epochs or 30
    print(f"# S0 on {Path(arguments.accuracy).name}, {epochs} epochs, batch 128, 128 px, crop and flip")
    with unpacked(Path(arguments.accuracy)) as root:
        config = replace(
            RECIPES["paper_s0"](),
            data=str(root),
            epochs=epochs,
            batch_size=128,
            base_lr=0.2,
            warmup_epochs=min(2, epochs),
            residual_start=True,
            input_size=128,
            crop_scale=(0.35, 1.0),
            ema_decay=0.99,
            device=arguments.device,
        )
        print_runs(config, arguments.seeds)


def print_runs(config: TrainConfig, seeds: int) -> None:
    """Every form with every seed, then each form's figures and its differences from the branches' runs."""
    top1: dict[Form, list[float]] = {form: [] for form in FORMS}
    losses: dict[Form, list[float]] = {form: [] for form in FORMS}
    for seed in range(seeds):
        for form in FORMS:
            own = replace(
                config,
                seed=seed,
                eval_every=config.epochs,
                branch_mode=form.mode,
                channels_last=form.channels_last,
            )
            start = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                result = fit(own, run_dir=folder, progress=False)
            top1[form].append(result.last.acc1)
            losses[form].append(result.records[-1].train_loss)
            print(
                f"seed {seed} {form.title:>14}: top-1 {result.last.acc1:6.2f} %, last epoch's training loss "
                f"{losses[form][-1]:.4f}, {result.seconds:.0f} s training, processor "
                f"{time.process_time() - start:.0f} s",
                flush=True,
            )
    if seeds < 2:
        return
    print(
        "mean ± standard deviation over seeds; difference from the branches, seed by seed, ± standard error"
    )
    for form in FORMS:
        print(f"{form.title:>14}: top-1 {compared(top1, form, 2)}; loss {compared(losses, form, 4)}")


def compared(values: dict[Form, list[float]], form: Form, digits: int) -> str:
    """A form's mean and spread, and the same of its differences from the branches."""
    own, branches = values[form], values[FORMS[0]]
    text = f"{statistics.mean(own):.{digits}f} ± {statistics.stdev(own):.{digits}f}"
    if form is FORMS[0]:
        return text
    apart = [a - b for a, b in zip(own, branches, strict=True)]
    error = statistics.stdev(apart) / len(apart) ** 0.5
    return f"{text} ({statistics.mean(apart):+.{digits}f} ± {error:.{digits}f})"
