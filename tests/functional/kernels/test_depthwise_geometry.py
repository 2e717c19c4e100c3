import torch

from mobileone.functional.kernels.depthwise_geometry import DepthwiseShape, num_groups, tap_classes
from mobileone.functional.window import Window


def test_the_shape_is_ring_hs():
    shape = DepthwiseShape.of(torch.zeros(2, 5, 7, 9), Window((3, 5), (2, 1), (1, 2), (1, 1)))
    names = [name for name, _ in DepthwiseShape._fields_]
    values = dict(zip(names, (getattr(shape, name) for name in names), strict=True))
    assert [values[n] for n in ("images", "channels", "height", "width")] == [2, 5, 7, 9]
    assert [values[n] for n in ("out_height", "out_width")] == [4, 9]
    assert [values[n] for n in ("kernel_h", "kernel_w", "stride_h", "pad_w")] == [3, 5, 2, 2]


def test_pieces_of_the_batch_do_not_outnumber_its_images_and_are_few_where_it_is_small():
    assert num_groups(torch.empty(16, 16, 256, 256, device="meta")) == 16
    assert num_groups(torch.empty(64, 16, 256, 256, device="meta")) == 32
    assert num_groups(torch.empty(16, 1024, 64, 64, device="meta")) == 1
    assert num_groups(torch.empty(16, 16, 4, 4, device="meta")) == 1


def test_classes_tell_pixels_apart_by_the_taps_they_can_be():
    """By brute force: pixel i is tap t of the output that starts at i + padding − t · dilation."""
    for window in (Window((3, 3), padding=(1, 1)), Window((3, 5), (2, 3), (1, 2), (1, 2))):
        for axis, size in ((0, 7), (1, 10)):
            kernel, stride, padding, dilation = (pair[axis] for pair in window)
            outputs = window.output_size(7, 10)[axis]
            seen = [0] * size
            for out in range(outputs):
                for tap in range(kernel):
                    pixel = out * stride - padding + tap * dilation
                    if 0 <= pixel < size:
                        seen[pixel] |= 1 << tap
            classes, taps, count = tap_classes(size, axis, window)
            assert taps[classes].tolist() == seen
            assert count == len(set(seen))
