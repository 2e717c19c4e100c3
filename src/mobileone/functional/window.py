"""What a convolution's kernel slides over: size, stride, padding, dilation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from mobileone.variants import BlockSpec, Pair


class Window(NamedTuple):
    """Geometry of a convolution; every pair is (height, width).

    >>> Window((3, 3), stride=(2, 2), padding=(1, 1)).output_size(7, 8)
    (4, 4)
    """

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    @staticmethod
    def of(spec: BlockSpec) -> Window:
        """The geometry of a unit."""
        return Window(spec.kernel, spec.strides, spec.paddings, spec.dilations)

    @staticmethod
    def of_flat(values: Sequence[int]) -> Window:
        """What `flat` was called on."""
        a, b, c, d, e, f, g, h = values
        return Window((a, b), (c, d), (e, f), (g, h))

    def flat(self) -> list[int]:
        """Its eight numbers, as a torch operator's schema knows them.

        >>> Window.of_flat(Window((3, 5)).flat()) == Window((3, 5))
        True
        """
        return [value for pair in self for value in pair]

    @property
    def is_common(self) -> bool:
        """Whether it is 3×3 at padding 1 and stride 1 or 2, undilated: what all depthwise units have.

        >>> Window((3, 3), (2, 2), (1, 1)).is_common, Window((3, 3)).is_common
        (True, False)
        """
        return self[0] == (3, 3) and self[2:] == ((1, 1), (1, 1)) and self.stride in ((1, 1), (2, 2))

    @property
    def num_taps(self) -> int:
        """Elements of the kernel in one channel."""
        return self.kernel[0] * self.kernel[1]

    def output_size(self, height: int, width: int) -> Pair:
        """Output (height, width) for an input of that size."""
        out = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip((height, width), *self, strict=True)
        ]
        return (out[0], out[1])

    def count(self, shape: Sequence[int]) -> int:
        """Outputs a channel for an input (N, C, H, W): batch · output height · output width."""
        height, width = self.output_size(shape[2], shape[3])
        return shape[0] * height * width


def subsample(x: Tensor, stride: Pair) -> Tensor:
    """Every stride-th pixel of (N, C, H, W), a view: what a strided 1×1 convolution reads.

    Those are the pixels under the centre of an odd kernel with "same" padding too.
    """
    return x if stride == (1, 1) else x[:, :, :: stride[0], :: stride[1]]
