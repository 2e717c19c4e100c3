"""What follows from the data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileone.errors import DataError
from mobileone.training.config.recipe import FOR_YOUR_DATA, recipe
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.adapt import adapt, suitable_batch


def photos(folder: Path, sizes: list[tuple[int, int]]) -> TrainConfig:
    """A recipe for pictures of these (width, height)."""
    for index, size in enumerate(sizes):
        path = folder / "train" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((size[1], size[0], 3), dtype=np.uint8)).save(path)
    return recipe("linear_probe").with_values({"data": str(folder)})


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(176, 235), (235, 180), (900, 50)], 176),
        ([(100, 120)], 96),
        ([(20, 20)], 32),
        ([(300, 400)], 224),
        ([(227, 227)], 224),
    ],
)
def test_the_input_is_no_larger_than_the_images(
    tmp_path: Path, sizes: list[tuple[int, int]], expected: int
) -> None:
    adapted = adapt(photos(tmp_path, sizes))
    assert adapted.config.input_spec.size == expected
    assert bool(adapted.reasons) is (expected < 224)


def test_what_was_asked_for_stays(tmp_path: Path) -> None:
    config = photos(tmp_path, [(100, 100)])
    assert adapt(config, keep={"input_spec.size"}).config == config
    finetune = recipe("finetune").with_values({"data": str(tmp_path)})
    assert adapt(finetune, keep={"input_spec.size", "batch_size", "progressive"}).config == finetune


def test_a_fused_network_is_trained_on_somewhat_smaller_images(tmp_path: Path) -> None:
    config = recipe("finetune").with_values({"data": photos(tmp_path, [(176, 200)]).data})
    adapted = adapt(config).config
    assert [adapted.images_at(epoch).size for epoch in range(adapted.epochs)] == [176] * 30
    assert adapted.input_spec.size == 192  # both end in 6 × 6 places
    kept = adapt(config.with_values({"input_spec.size": (100, 64)}), keep={"input_spec.size"}).config
    assert kept.progressive == ()
    assert adapt(config.with_values({"form": "train"})).config.progressive == ()


def test_a_step_of_few_photos_is_small_and_its_rate_in_proportion(tmp_path: Path) -> None:
    config = recipe("finetune").with_values({"data": photos(tmp_path, [(300, 300)] * 9).data})
    adapted = adapt(config)
    assert (adapted.config.batch_size, adapted.reasons) == (8, ("batch size 8: there are 9 training images",))
    assert [suitable_batch(number, 64) for number in (1280, 1279, 640, 639, 300, 20)] == [
        64,
        32,
        32,
        16,
        8,
        8,
    ]


def test_held_out_and_excluded_images_make_no_steps(tmp_path: Path) -> None:
    data = Path(photos(tmp_path, [(64, 64)] * 340).data) / "train"
    config = recipe("finetune").with_values({"data": str(data), "batch_size": 32})
    assert adapt(config.with_values({"split": 0.01})).config.batch_size == 16
    halved = adapt(config.with_values({"split": 0.5})).config
    (tmp_path / "out.txt").write_text("".join(f"train/{'ab'[n % 2]}/{n}.png\n" for n in range(30)))
    without = adapt(config.with_values({"folds": 20, "exclude": str(tmp_path / "out.txt")}))
    assert (halved.batch_size, without.config.batch_size) == (8, 8)
    assert without.reasons[-1] == "batch size 8: there are 294 training images"


def test_unreadable_images_are_left_to_the_run_and_missing_data_is_said(tmp_path: Path) -> None:
    config = photos(tmp_path, [(100, 100), (100, 100)])
    (tmp_path / "train" / "a" / "0.png").write_bytes(b"none")
    assert adapt(config).config.input_spec.size == 96
    (tmp_path / "train" / "b" / "1.png").write_bytes(b"none")
    assert adapt(config).config == config
    with pytest.raises(DataError):
        adapt(config.with_values({"data": str(tmp_path / "nowhere")}))


def test_it_repeats(tmp_path: Path) -> None:
    config = adapt(photos(tmp_path, [(100, 100)])).config
    assert adapt(config).config == config


def test_the_recipes_that_the_command_adapts_exist() -> None:
    assert [recipe(name).data for name in FOR_YOUR_DATA] == ["data", "data"]
