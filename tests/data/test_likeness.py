"""Hashes that are close, and pictures that look alike."""

import numpy as np
import pytest

from mobileone.data import likeness
from mobileone.data.folder import find_images
from mobileone.data.likeness import close_pairs, look_alike


def test_close_hashes_are_found_wherever_their_bits_differ():
    random = np.random.default_rng(0)
    first = random.integers(0, 2**63, 200).astype(np.uint64)
    second = first.copy()
    for position, bits in enumerate(random.integers(0, 64, (200, 3))):
        for bit in bits[: position % 4]:
            second[position] ^= np.uint64(1) << np.uint64(bit)
    wanted = {
        (int(i), int(j))
        for i in range(200)
        for j in range(200)
        if int(first[i] ^ second[j]).bit_count() <= likeness.MAX_BITS
    }
    assert set(close_pairs(first, second)) == wanted
    assert len(wanted) >= 150


def test_what_hundreds_share_is_left_out():
    many = np.zeros(likeness.MAX_BUCKET + 1, np.uint64)
    assert close_pairs(many, many[:1]) == []


@pytest.mark.parametrize(("quality", "alike"), [(60, True), (None, False)])
def test_a_photo_at_another_quality_looks_alike_and_another_does_not(tmp_path, picture, quality, alike):
    (tmp_path / "a").mkdir()
    picture(1, 60, 80).save(tmp_path / "a" / "1.jpg", quality=95)
    picture(1 if quality else 2, 60, 80).resize((40, 30)).save(
        tmp_path / "a" / "2.jpg", quality=quality or 95
    )
    source = find_images(tmp_path, split=None)
    assert look_alike(source, 0, source, 1) is alike
