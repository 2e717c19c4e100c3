"""Random erasing: how often, how much, where, and with what."""

from __future__ import annotations

import torch

from mobileone.data.erasing import random_erasing


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_share_of_images_the_areas_and_the_noise_are_the_papers():
    image = torch.full((3, 64, 64), 7, dtype=torch.uint8)
    source, areas, values = generator(), [], []
    for _ in range(1000):
        erased = random_erasing(image, probability=0.25, generator=source)
        box = (erased != image).any(0)
        if box.any():
            rows, columns = box.any(1).nonzero(), box.any(0).nonzero()
            areas.append(((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)).item() / 4096)
            values.append(erased[:, box].float().mean().item())
    assert abs(len(areas) / 1000 - 0.25) < 0.04
    assert 0.015 < min(areas) < 0.03
    assert 0.28 < max(areas) < 0.345
    assert abs(sum(values) / len(values) - 127.5) < 2


def test_nothing_is_erased_at_zero_and_the_input_is_never_written_to():
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    assert random_erasing(image, probability=0.0, generator=generator()) is image
    erased = random_erasing(image, probability=1.0, generator=generator())
    assert erased.any()
    assert not image.any()


def test_the_same_generator_erases_the_same():
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    one, two = (random_erasing(image, probability=1.0, generator=generator(4)) for _ in range(2))
    assert torch.equal(one, two)
