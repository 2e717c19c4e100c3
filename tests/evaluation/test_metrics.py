"""Counting right answers."""

import json
import math

import pytest
import torch

from mobileone.evaluation.metrics import EvalResult, topk_correct


def test_counts_by_hand() -> None:
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4], [4.0, 5, 6, 7, 8, 9], [0.0, 0, 1, 0, 0, 0]])
    assert topk_correct(logits, torch.tensor([0, 0, 2]), (1, 5)).tolist() == [2, 2]
    assert topk_correct(logits, torch.tensor([4, 1, 2]), (1, 2, 5)).tolist() == [1, 1, 3]


def test_against_sorting_every_row() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 20, generator=generator)
    labels = torch.randint(0, 20, (200,), generator=generator)
    place = [
        sorted(range(20), key=lambda c, r=r: -r[c]).index(y)
        for r, y in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    expected = [sum(p < k for p in place) for k in (1, 3, 5)]
    assert topk_correct(logits, labels, (1, 3, 5)).tolist() == expected


def test_with_few_classes_top5_is_all_of_them() -> None:
    assert topk_correct(torch.eye(3), torch.tensor([2, 2, 2])).tolist() == [1, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_count_alike(dtype: torch.dtype) -> None:
    assert topk_correct(torch.eye(6, dtype=dtype), torch.arange(6)).tolist() == [6, 6]


def test_a_row_of_nan_is_wrong() -> None:
    logits = torch.zeros(2, 3)
    logits[0] = float("nan")
    logits[1, 1] = 1.0
    assert topk_correct(logits, torch.tensor([0, 1])).tolist() == [1, 1]


def test_the_result_is_plain_json_even_if_the_loss_is_not() -> None:
    figures = {"acc1": 50.0, "acc5": 100.0, "recall/a/b": 25.0}
    result = EvalResult(num_images=2, metrics=figures, loss=math.inf, skipped=("a.jpg",), seconds=0.5)
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values == {
        "num_images": 2,
        "acc1": 50.0,
        "acc5": 100.0,
        "loss": None,
        "per_class": {"recall": {"a/b": 25.0}},
        "skipped": ["a.jpg"],
        "seconds": 0.5,
        "coverage": None,
        "accepted_acc1": None,
        "notes": [],
    }
    assert (result.acc1, result.acc5, result.overall) == (50.0, 100.0, {"acc1": 50.0, "acc5": 100.0})


def test_a_result_comes_back_from_its_values_also_from_older_ones() -> None:
    result = EvalResult(num_images=2, metrics={"map": 50.0, "ap/a": 25.0}, loss=1.0, notes=("a",))
    assert EvalResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    older = {"num_images": 2, "acc1": 50.0, "acc5": 100.0, "loss": None, "skipped": [], "seconds": 0.5}
    assert EvalResult.from_dict(older).metrics == {"acc1": 50.0, "acc5": 100.0}
    assert math.isnan(EvalResult.from_dict(older).loss)
