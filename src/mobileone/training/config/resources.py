"""The machine's side of a run: how it computes, loads and saves. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mobileone.training.config.interval import Interval
from mobileone.training.config.rules import require, require_choice
from mobileone.variants import BranchMode

Amp = Literal["auto", "off", "bf16", "fp16"]
OnBadImage = Literal["error", "skip"]
Sampling = Literal["shuffle", "balanced", "effective"]
WeightsSuffix = Literal[".safetensors", ".pt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How a step is computed.

    Attributes:
        device: `"auto"` (CUDA if there is one), `"cpu"`, `"cuda"` or `"cuda:N"`.
        amp: mixed precision: `"off"`, `"bf16"`, `"fp16"` (with a gradient scaler), or `"auto"` (bf16 on a
            GPU that computes in it, fp16 on another, off on the CPU).
        channels_last: whether activations lie as (N, H, W, C) in memory.
        sync_bn: whether BatchNorm's statistics are those of all ranks.
        branch_mode: how train-form units compute: `"branches"`, `"online"` (one convolution a unit, the same
            function), or `"auto"`, the faster one where that was measured.
        accumulate: parts that a step's images are taken in, one after the other, to need less memory.
        compile: whether `torch.compile` compiles the network. Off: where it pays has not been measured, and
            it takes minutes to start.
        cudnn_benchmark: whether cuDNN tries its algorithms out at the first steps of a size. Which it takes
            may differ from run to run, and with it the last bits of a result.
        rank_timeout_s: seconds that a rank waits for the others in an exchange before it gives them up.
        tf32: whether float32 products and convolutions on a GPU may round their operands to 10 bits
            (TensorFloat-32); with `amp` on they are bf16 or fp16 anyway.

    Raises:
        ConfigError: on a value out of range.
    """

    device: str = "auto"
    amp: Amp = "auto"
    channels_last: bool = True
    sync_bn: bool = True
    branch_mode: BranchMode = "auto"
    accumulate: int = 1
    compile: bool = False
    cudnn_benchmark: bool = True
    tf32: bool = False
    rank_timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        require_choice("compute.amp", self.amp, get_args(Amp))
        require_choice("compute.branch_mode", self.branch_mode, get_args(BranchMode))
        require("compute.accumulate", self.accumulate >= 1, "at least 1", self.accumulate)
        require("compute.rank_timeout_s", self.rank_timeout_s > 0, "above 0", self.rank_timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How images are read.

    Attributes:
        num_workers: loader processes a rank; 0 loads in the training process, None takes the rank's share of
            the cores that may be used, 1 to 8.
        on_bad_image: `"error"` stops at an unreadable image, `"skip"` counts it and goes on.
        sampling: `"shuffle"` takes every training image once an epoch; `"balanced"` every class as often as
            the others, `"effective"` by its effective number of images (arXiv 1901.05555), which lies between
            the two. An epoch has as many images as the set, whichever it is.
        effective_beta: of `"effective"`, in [0, 1): how much of an image is news, if there are many; 0 is
            `"shuffle"`, near 1 is `"balanced"`.

    Raises:
        ConfigError: on a value out of range.
    """

    num_workers: int | None = None
    on_bad_image: OnBadImage = "error"
    sampling: Sampling = "shuffle"
    effective_beta: float = 0.999

    def __post_init__(self) -> None:
        fits = self.num_workers is None or self.num_workers >= 0
        require("loading.num_workers", fits, "0 or more, or None", self.num_workers)
        require_choice("loading.on_bad_image", self.on_bad_image, get_args(OnBadImage))
        require_choice("loading.sampling", self.sampling, get_args(Sampling))
        beta = self.effective_beta
        require("loading.effective_beta", 0 <= beta < 1, "in [0, 1)", beta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What a run leaves on the disk, and how often.

    Attributes:
        checkpoint_every: time or steps between checkpoints within an epoch: `"1000s"`, `"500steps"` or
            `"none"`; one is written at the end of an epoch anyway.
        keep_checkpoints: how many of the newest stay; with 2 or more, a damaged one can be done without.
        weights_suffix: kind of the `last` and `best` files: `".safetensors"` or `".pt"`.
        select: figure that the best epoch is chosen by: one of `METRICS` for the task (`acc1`, `macro_f1`,
            `map`, …), `loss`, one of a class (`recall/cat`, `ap/cat`, `f1/cat`), or `"auto"`: `acc1`, and
            with several labels an image `map`.

    Raises:
        ConfigError: on a value out of range.
    """

    checkpoint_every: str = "1000s"
    keep_checkpoints: int = 2
    weights_suffix: WeightsSuffix = ".safetensors"
    select: str = "auto"

    def __post_init__(self) -> None:
        Interval.parse(self.checkpoint_every)  # refuses what it cannot read
        require("saving.keep_checkpoints", self.keep_checkpoints >= 1, "at least 1", self.keep_checkpoints)
        require_choice("saving.weights_suffix", self.weights_suffix, get_args(WeightsSuffix))

    @property
    def interval(self) -> Interval:
        """What `checkpoint_every` says."""
        return Interval.parse(self.checkpoint_every)
