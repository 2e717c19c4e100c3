"""A comparison proves that two compute the same, or is refused."""

from types import SimpleNamespace

import pytest
import torch

from mobileone.errors import ExportError
from mobileone.exporting.parity import CONTRAST, compare, seeded_pictures
from mobileone.input_spec import InputSpec

EXPECTED = torch.tensor([[4.0, 1.0, 0.0], [0.0, 4.0, 1.0], [1.0, 0.0, 4.0], [4.0, 0.0, 1.0]])
PIXELS = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)


def gives(logits):
    """An artifact that gives these logits, whatever it sees."""
    session = SimpleNamespace(runtime="a runtime 1.0", precision="fp32")
    return SimpleNamespace(session=session, logits=lambda pixels: logits)


def compared(logits, *, expected=EXPECTED, tolerance=1e-2):
    return compare(gives(logits), expected, PIXELS, images="plain", tolerance=tolerance)


def test_the_difference_is_measured():
    got = EXPECTED.clone()
    got[2, 1] += 0.02
    parity = compared(got)
    assert parity.max_abs == pytest.approx(0.02)
    assert parity.max_rel == pytest.approx(0.005)
    assert (parity.top1_agreement, parity.num_images, parity.images) == (1.0, 4, "plain")
    assert (parity.runtime, parity.precision, parity.tolerance) == ("a runtime 1.0", "fp32", 1e-2)


def test_more_than_the_tolerance_is_refused():
    with pytest.raises(ExportError, match="does not compute what PyTorch computes"):
        compared(EXPECTED + 0.05)
    parity = compared(EXPECTED.flip(0), tolerance=None)
    assert parity.top1_agreement == 0.5
    assert parity.max_rel == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("tolerance", [1e-2, None])
def test_what_is_not_finite_is_always_refused(bad, tolerance):
    got = EXPECTED.clone()
    got[0, 0] = bad
    with pytest.raises(ExportError, match="does not compute"):
        compared(got, tolerance=tolerance)


def test_logits_that_do_not_depend_on_the_picture_prove_nothing():
    constant = EXPECTED[:1].repeat(4, 1)
    with pytest.raises(ExportError, match=r"proves nothing.*vary by 0\.0e\+00"):
        compared(constant, expected=constant)
    rounding = 0.01
    for contrast, passes in ((0.9 * CONTRAST * rounding, False), (2 * CONTRAST * rounding, True)):
        expected = constant.clone()
        expected[0] += 4 / 3 * contrast  # so that it is `contrast` away from the mean
        got = expected.clone()
        got[1, 1] += rounding
        if passes:
            compared(got, expected=expected)
        else:
            with pytest.raises(ExportError, match="train the network first"):
                compared(got, expected=expected)


def test_seeded_pictures_hold_black_white_and_what_varies():
    spec = InputSpec(size=40)
    pictures = seeded_pictures(spec, number=5)
    assert (pictures.shape, pictures.dtype) == ((5, 3, 40, 40), torch.uint8)
    assert (pictures[0].max(), pictures[-1].min()) == (0, 255)
    assert (pictures[1:-1].float().flatten(1).std(1) > 20).all()
    assert torch.equal(pictures, seeded_pictures(spec, number=5))
    assert not torch.equal(pictures, seeded_pictures(spec, number=5, seed=1))
    grey = InputSpec(size=40, mean=(0.5,), std=(0.5,))
    assert seeded_pictures(grey).shape == (8, 1, 40, 40)
