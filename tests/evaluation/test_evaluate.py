"""Evaluation against the same done by hand, and what it refuses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from mobileone.data.digits import load_digits
from mobileone.decision import Decision
from mobileone.errors import BadImageError, DataError, InferenceError
from mobileone.evaluation.answers import answer
from mobileone.evaluation.evaluate import evaluate
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.model.network import MobileOne
from mobileone.ranks.distributed import Distributed
from mobileone.variants import Variant

TINY = Variant("tiny", (8, 8, 16, 16), num_conv_branches=2, depths=(1, 1, 1, 1))


@pytest.fixture
def model() -> MobileOne:
    torch.manual_seed(0)
    spec = InputSpec(size=32, crop=1.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    model = create_model(TINY, num_classes=10, input_spec=spec)
    model(torch.randn(16, 3, 32, 32))  # statistics that are not the default
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
                tmp_path / name / f"{index}.png"
            )
    return tmp_path


def two_classes(names: tuple[str, ...] | None = ("cat", "dog")) -> MobileOne:
    torch.manual_seed(0)
    return create_model(TINY, num_classes=2, class_names=names, input_spec=InputSpec(size=32)).eval()


def test_it_is_the_mean_over_every_image(model: MobileOne) -> None:
    digits = load_digits("val")
    pixels = (
        F.interpolate(
            torch.from_numpy(digits.images).permute(0, 3, 1, 2), (32, 32), mode="bilinear", antialias=True
        ).float()
        / 255
    )
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (model.input_spec.mean, model.input_spec.std))
    with torch.no_grad():
        logits = model((pixels - mean) / std)
    labels = torch.from_numpy(digits.labels)
    result = evaluate(model, "digits", batch_size=50, progress=False)
    assert result.num_images == 360
    assert result.acc1 == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())
    in5 = (logits.topk(5).indices == labels[:, None]).any(1)
    assert result.acc5 == pytest.approx(100 * in5.double().mean().item())
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


def test_the_batch_size_does_not_matter(model: MobileOne) -> None:
    a, b = (evaluate(model, "digits", batch_size=n, progress=False) for n in (70, 360))
    assert (a.acc1, a.acc5) == (b.acc1, b.acc5)
    assert a.loss == pytest.approx(b.loss, rel=1e-6)


def test_the_model_is_evaluated_in_eval_and_left_as_it_was(model: MobileOne) -> None:
    expected = evaluate(model, "digits", progress=False)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert evaluate(model, "digits", progress=False).loss == expected.loss
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_bfloat16_weights_and_autocast_are_close(model: MobileOne) -> None:
    exact = evaluate(model, "digits", progress=False).loss
    assert evaluate(model, "digits", amp="bf16", progress=False).loss == pytest.approx(exact, rel=0.05)
    assert evaluate(model.bfloat16(), "digits", progress=False).loss == pytest.approx(exact, rel=0.05)


def test_unreadable_images_are_errors_or_left_out(folder: Path) -> None:
    (folder / "cat" / "1.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"cat/1\.png"):
        evaluate(two_classes(), folder, progress=False)
    result = evaluate(two_classes(), folder, on_bad_image="skip", batch_size=2, progress=False)
    assert result.num_images == 5
    assert result.skipped == (str(folder / "cat" / "1.png"),)
    for path in folder.glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image could be read, 6 are damaged"):
        evaluate(two_classes(), folder, on_bad_image="skip", progress=False)


def test_the_models_class_names_decide_the_labels(folder: Path) -> None:
    forward = evaluate(two_classes(("cat", "dog")), folder, progress=False)
    swapped = evaluate(two_classes(("dog", "cat")), folder, progress=False)
    assert forward.acc1 == pytest.approx(100 - swapped.acc1)
    unnamed = evaluate(two_classes(None), folder, progress=False)
    assert unnamed.acc1 == forward.acc1


def test_a_model_may_know_more_classes_than_the_folder_has(folder: Path) -> None:
    names = ("bird", "cat", "dog", "eel")
    model = create_model(TINY, num_classes=4, class_names=names, input_spec=InputSpec(size=32)).eval()
    assert evaluate(model, folder, progress=False).num_images == 6


def test_classes_that_are_not_the_models_are_refused(model: MobileOne, folder: Path) -> None:
    with pytest.raises(DataError, match="10 outputs, the data 2 classes"):
        evaluate(model, folder, progress=False)
    with pytest.raises(DataError, match="dog"):
        evaluate(two_classes(("cat", "cow")), folder, progress=False)
    with pytest.raises(DataError, match=r"2 classes \(cat … dog\) are not the data's 10 \(0 … 9\)"):
        evaluate(two_classes(), "digits", progress=False)
    wrong = dataclasses.replace(load_digits("val"), labels=load_digits("val").labels + 5)
    with pytest.raises(DataError, match=r"labels must be in 0\.\.9, the data has 14"):
        evaluate(model, wrong, progress=False)


def test_logits_that_are_no_numbers_are_an_error(model: MobileOne) -> None:
    with torch.no_grad():
        model.head.fc.bias[3] = float("nan")
    with pytest.raises(
        InferenceError, match=r"the loss became nan: the network's logits are NaN or infinite"
    ):
        evaluate(model, "digits", progress=False)


def test_a_wrapped_model_is_unwrapped(model: MobileOne) -> None:
    expected = evaluate(model, "digits", progress=False)
    assert evaluate(torch.nn.DataParallel(model), "digits", progress=False).loss == expected.loss


def test_a_calibrated_model_says_how_many_answers_are_sure_and_right(model: MobileOne) -> None:
    plain = evaluate(model, "digits", progress=False)
    assert (plain.coverage, plain.accepted_acc1) == (None, None)
    answers = answer(model, load_digits("val"), progress=False)
    threshold = float(np.median(answers.probabilities))
    model.decision = Decision(thresholds=(threshold,))
    sure = answers.probabilities >= threshold
    result = evaluate(model, "digits", progress=False)
    right = (answers.labels == answers.predictions)[sure].mean()
    assert result.coverage == pytest.approx(100 * sure.mean(), abs=0.3)  # one image at the threshold itself
    assert result.accepted_acc1 == pytest.approx(100 * right, abs=0.3)
    assert (result.acc1, result.loss) == (plain.acc1, pytest.approx(plain.loss, rel=1e-5))
    model.decision = Decision(temperatures=(3.0,), thresholds=(1.0,))
    refusing = evaluate(model, "digits", progress=False)
    assert (refusing.coverage, refusing.accepted_acc1) == (0, None)
    assert refusing.loss != pytest.approx(plain.loss, rel=1e-3)


def test_labels_of_several_ranks_come_to_what_one_rank_finds(tiny, label_list):
    pytest.importorskip("sklearn", reason="figures of several labels need scikit-learn, in the extra train")
    model = create_model(
        tiny, num_classes=2, input_spec=InputSpec(size=32), class_names=("bright", "red"), task="multilabel"
    ).eval()
    alone = evaluate(model, label_list, split="train", batch_size=24, progress=False)
    shares: list[list[torch.Tensor]] = []

    class Rank(Distributed):
        """One of two ranks, which hands over the other's share."""

        def gather(self, value):
            if not value or not isinstance(value[0], torch.Tensor):
                return [value]
            shares.append(value)
            return shares[::-1]

    for rank in (0, 1):
        dist = Rank(rank=rank, world_size=2)
        found = evaluate(model, label_list, split="train", batch_size=3, dist=dist, progress=False)
    assert len(shares) == 2
    assert dict(found.metrics) == pytest.approx(dict(alone.metrics))
    assert (found.num_images, found.loss) == (24, pytest.approx(alone.loss))
