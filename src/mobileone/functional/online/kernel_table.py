"""Which code computes a unit in training: the one table, and the rule behind branch mode "auto".

A row says what its kernel takes. Rows are tried from the top; the last of each table takes whatever is left.
All who need a choice ask here: `unit_kernel` how to compute a unit as one convolution, `moments_kernel` how
to take the moments of patches, `online_pays` whether one convolution is the faster way at all.
"""

from __future__ import annotations

import functools
import warnings
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mobileone.functional.kernels.availability import TRITON, has_kernels
from mobileone.functional.window import Window
from mobileone.variants import BlockSpec

UnitKernel = Literal[
    "normalized",
    "normalized_triton",
    "normalized_torch",
    "merged_depthwise",
    "merged_dense",
    "fused_depthwise",
    "fused_dense",
    "composed",
]
MomentsKernel = Literal["depthwise_c", "depthwise_triton", "gram", "unfold"]

MAX_SIDE = 5  # of a depthwise kernel: the C kernels have room for no more
# Triton's kernels are for the one geometry that published networks have.
DEPTHWISE = ("depthwise", "common_depthwise")
C_DTYPES = (torch.float32, torch.float64)
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MOMENTS_C = ("depthwise_moments", "depthwise_convolution")
CHANNELS_LAST = torch.channels_last

# The rule of "auto", measured unit by unit on a CPU (docs/online.md). Input elements from which the online
# form won: below, the calls for its small tensors cost more than it saves. With AVX2 alone oneDNN takes far
# longer for a depthwise kernel's gradient, which every branch wants, so several branches lose much earlier.
MIN_ELEMENTS_DEPTHWISE = 1 << 17
MIN_ELEMENTS_SEVERAL = 1 << (12 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 17)
# As multiply-accumulates: those calls, and what a branch of its own costs an output element beyond products
# (writing its output, normalising it, adding it, and all that backward).
CALLS_MACS = 50_000_000
BRANCH_OVERHEAD_MACS = 180


class KernelRow(NamedTuple):
    """What one kernel takes; None is anything.

    Attributes:
        shapes: of the unit (`unit_shape`) or of its patches (`patch_shape`).
        device: type of x's device.
        dtypes: of x.
        needs: the C libraries that must be there, by the names of their sources, or "triton".
        traced: whether torch.compile may meet it.
        layout: of the output. A kernel with a layout converts x to it; the others keep x's.
        mixed: whether parameters may be of another dtype than x.
        frozen: whether it takes a unit whose BatchNorms are all frozen, and so want no statistics.
    """

    shapes: tuple[str, ...] | None = None
    device: str | None = None
    dtypes: tuple[torch.dtype, ...] | None = None
    needs: tuple[str, ...] = ()
    traced: bool = True
    layout: torch.memory_format | None = None
    mixed: bool = True
    frozen: bool = True

    def takes(self, shape: str, x: Tensor) -> bool:
        """Whether shape, device, dtype and compilation fit, and what it needs is there."""
        if (self.shapes is not None and shape not in self.shapes) or self.device not in (None, x.device.type):
            return False
        if self.dtypes is not None and x.dtype not in self.dtypes:
            return False
        if not self.traced and torch.compiler.is_compiling():
            return False
        return not self.needs or kernels_are_there(self.needs, x.dtype)


UNIT_KERNELS: dict[UnitKernel, KernelRow] = {
    "normalized": KernelRow(
        ("one_branch",), "cpu", C_DTYPES, ("affine",), traced=False, layout=CHANNELS_LAST
    ),
    "normalized_triton": KernelRow(
        ("one_branch",), "cuda", TRITON_DTYPES, (TRITON,), traced=False, layout=CHANNELS_LAST
    ),
    "normalized_torch": KernelRow(("one_branch",)),
    "merged_depthwise": KernelRow(
        DEPTHWISE,
        "cpu",
        C_DTYPES,
        ("branch_stack", *MOMENTS_C),
        traced=False,
        layout=CHANNELS_LAST,
        mixed=False,
        frozen=False,
    ),
    "merged_dense": KernelRow(
        ("dense",),
        "cpu",
        C_DTYPES,
        ("branch_stack", "affine"),
        traced=False,
        layout=CHANNELS_LAST,
        mixed=False,
        frozen=False,
    ),
    "fused_depthwise": KernelRow(
        ("common_depthwise",),
        "cuda",
        TRITON_DTYPES,
        (TRITON,),
        traced=False,
        layout=CHANNELS_LAST,
        frozen=False,
    ),
    "fused_dense": KernelRow(
        ("dense",), "cuda", TRITON_DTYPES, (TRITON,), traced=False, layout=CHANNELS_LAST, frozen=False
    ),
    "composed": KernelRow(),
}

MOMENTS_KERNELS: dict[MomentsKernel, KernelRow] = {
    "depthwise_c": KernelRow(DEPTHWISE, "cpu", C_DTYPES, MOMENTS_C),
    "depthwise_triton": KernelRow(("common_depthwise",), "cuda", TRITON_DTYPES, (TRITON,)),
    "gram": KernelRow(("pointwise",)),
    "unfold": KernelRow(),
}


def kernels_are_there(needs: tuple[str, ...], dtype: torch.dtype) -> bool:
    """`has_kernels`, or to torch.compile a constant."""
    if torch.compiler.is_compiling():
        from mobileone.functional.kernels import traced_availability

        return bool(traced_availability.has_kernels(needs, dtype))
    return has_kernels(needs, dtype)


def has_one_branch(spec: BlockSpec) -> bool:
    """Whether a unit is y = W ∗ x and multiples of x: one convolution branch, scale only if depthwise."""
    depthwise = spec.groups == spec.in_channels == spec.out_channels
    return spec.num_conv_branches == 1 and (depthwise or not spec.use_scale)


def unit_shape(spec: BlockSpec, x: Tensor) -> str:
    """What the table knows a unit by: "one_branch", "common_depthwise", "depthwise", "dense", or "other".

    Common is a 3×3 kernel at padding 1 and stride 1 or 2. Dense is a convolution of one group that is
    pointwise or whose input wants no gradient, as the stem's.
    """
    if has_one_branch(spec):
        return "one_branch"
    if spec.groups > 1:
        one_to_one = spec.groups == spec.in_channels == spec.out_channels
        if not one_to_one or max(spec.kernel) > MAX_SIDE:
            return "other"
        return "common_depthwise" if Window.of(spec).is_common else "depthwise"
    return "dense" if Window.of(spec) == Window() or not x.requires_grad else "other"


def unit_kernel(spec: BlockSpec, x: Tensor, *, mixed: bool = False, frozen: bool = False) -> UnitKernel:
    """How to compute a unit as one convolution.

    Args:
        spec: of the unit.
        x: its input, (N, C_in, H, W), as the convolution is to see it.
        mixed: whether a parameter has another dtype than x.
        frozen: whether no BatchNorm wants the batch's statistics.
    """
    shape = unit_shape(spec, x)
    for kernel, row in UNIT_KERNELS.items():
        if (row.mixed or not mixed) and (row.frozen or not frozen) and row.takes(shape, x):
            if kernel == "composed" and not frozen:
                _say_what_has_no_kernel(shape, x)
            return kernel
    raise AssertionError("the last row takes everything")


def _say_what_has_no_kernel(shape: str, x: Tensor) -> None:
    """Warn once a kind of unit that Triton is there and has no kernel for."""
    if (
        x.device.type == "cuda"
        and not torch.compiler.is_compiling()
        and kernels_are_there((TRITON,), x.dtype)
    ):
        _warn_without_kernel(shape if x.dtype in TRITON_DTYPES else str(x.dtype).removeprefix("torch."))


@functools.cache
def _warn_without_kernel(kind: str) -> None:
    warnings.warn(
        f"there is no Triton kernel to train {kind.replace('_', ' ')} units online with: plain torch takes "
        "its place, which is slower; use branch mode branches, or 3×3 depthwise and 1×1 kernels in float32, "
        "bfloat16 or float16",
        RuntimeWarning,
        stacklevel=2,
    )


def patch_shape(window: Window, *, groups: int, channels: int) -> str:
    """What the table knows patches by: as units where they are of one channel, "pointwise", or "other"."""
    if groups == channels and max(window.kernel) <= MAX_SIDE:
        return "common_depthwise" if window.is_common else "depthwise"
    return "pointwise" if groups == 1 and window == Window() else "other"


def moments_kernel(x: Tensor, window: Window, *, groups: int = 1) -> MomentsKernel:
    """How to take the moments of the patches of x (N, C, H, W)."""
    shape = patch_shape(window, groups=groups, channels=x.shape[1])
    for kernel, row in MOMENTS_KERNELS.items():
        if row.takes(shape, x):
            return kernel
    raise AssertionError("the last row takes everything")


def online_pays(spec: BlockSpec, x: Tensor) -> bool:
    """Whether one convolution is the faster way to train a unit on x, as measured: a CPU, float32 or float64.

    - Depthwise: unless x is small.
    - Pointwise with one convolution branch: never, it saves one or two BatchNorms and costs more.
    - Others: where the Gram product and the products with the kernels cost less than the branches they save,
      which takes many more pixels than channels.
    - Never under autocast, on other devices, or without a C compiler; under torch.compile not with one
      convolution branch, which the compiler fuses itself.
    """
    if x.device.type != "cpu" or x.dtype not in C_DTYPES or torch.is_autocast_enabled("cpu"):
        return False
    depthwise = spec.groups == spec.in_channels
    if has_one_branch(spec):
        large = x.numel() >= MIN_ELEMENTS_DEPTHWISE
        return depthwise and large and unit_kernel(spec, x) == "normalized"
    if max(spec.kernel) > MAX_SIDE or not kernels_are_there(MOMENTS_C, x.dtype):
        return False
    if depthwise:
        return x.numel() >= MIN_ELEMENTS_SEVERAL
    return spec.groups == 1 and _saves_products(spec, x)


def _saves_products(spec: BlockSpec, x: Tensor) -> bool:
    """Whether moments and what follows from them take fewer multiply-accumulates than the branches saved."""
    window = Window.of(spec)
    k, patch, c_out = spec.num_conv_branches, spec.in_channels * window.num_taps, spec.out_channels
    patches = window.count(x.shape)
    saved = patches * c_out * (3 * (k - 1) * patch + (spec.num_branches - 1) * BRANCH_OVERHEAD_MACS)
    # The Gram product and its backward, a product of each kernel with the covariance and its backward.
    added = 2 * patch**2 * (patches + k * c_out) + CALLS_MACS
    return added < saved
