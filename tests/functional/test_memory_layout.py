import torch

from mobileone.functional.memory_layout import channels_last, pixel_rows


def test_rows_are_pixels_in_order_and_a_view_of_channels_last():
    x = torch.arange(48.0).view(2, 3, 2, 4)
    rows = pixel_rows(x)
    assert torch.equal(rows[5], x[0, :, 1, 1])
    last = channels_last(x)
    assert torch.equal(last, x)
    assert channels_last(last) is last
    pixel_rows(last).zero_()
    assert not last.any()
    assert x.any()
