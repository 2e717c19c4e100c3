"""Accuracy of an exported file is what the loader's way gives, to the bit."""

import numpy as np
import PIL.Image
import pytest
import torch

from mobileone.backends.artifact import Artifact
from mobileone.data.digits import load_digits
from mobileone.decision import Decision
from mobileone.errors import BadImageError, ConfigError, DataError
from mobileone.evaluation.answers import answer
from mobileone.evaluation.artifact_accuracy import _sums
from mobileone.evaluation.evaluate import evaluate
from mobileone.evaluation.metrics import topk_correct
from mobileone.exporting.export import export
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.ranks.distributed import Distributed


@pytest.fixture
def artifact(tiny, randomize, tmp_path):
    spec = InputSpec(size=32, crop=1.0)
    model = randomize(create_model(tiny, num_classes=10, input_spec=spec)).eval()
    return Artifact(export(model, tmp_path / "net.pt2", format="torch", batch_size=8).path)


def test_both_ways_agree(artifact):
    alone = evaluate(artifact, "digits", batch_size=50, progress=False)
    ranked = evaluate(artifact, "digits", batch_size=50, dist=Distributed(), progress=False)
    assert (alone.num_images, alone.acc1, alone.acc5) == (360, ranked.acc1, ranked.acc5)
    assert alone.loss == pytest.approx(ranked.loss, rel=1e-6)
    threaded = evaluate(artifact, "digits", batch_size=7, num_workers=3, progress=False)
    assert threaded.loss == pytest.approx(alone.loss, rel=1e-6)


def test_sums_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 20, generator=generator).round(decimals=1)
    labels = torch.randint(0, 20, (200,), generator=generator)
    got = _sums(logits.numpy(), labels.numpy())
    loss = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
    assert got[0] == 200
    assert got[3] == pytest.approx(loss.item())
    distinct = torch.randn(200, 20, generator=generator)
    assert _sums(distinct.numpy(), labels.numpy())[1:3].tolist() == topk_correct(distinct, labels).tolist()
    broken = np.full((1, 3), np.nan, np.float32)
    assert _sums(broken, np.array([0]))[:3].tolist() == [1, 0, 0]


@pytest.fixture
def animals(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(4):
        folder = tmp_path / "animals" / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
            folder / f"{index}.png"
        )
    return tmp_path / "animals"


def test_bad_images_stop_it_or_are_listed(tiny, tmp_path, animals, randomize):
    spec, names = InputSpec(size=32), ("cat", "dog")
    model = randomize(create_model(tiny, num_classes=2, class_names=names, input_spec=spec)).eval()
    artifact = Artifact(export(model, tmp_path / "net.pt2", format="torch").path)
    broken = animals / "cat" / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(BadImageError, match=r"broken\.jpg"):
        evaluate(artifact, animals, progress=False)
    result = evaluate(artifact, animals, on_bad_image="skip", progress=False)
    assert (result.num_images, result.skipped) == (4, (str(broken),))
    for path in animals.rglob("*.*"):
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no image could be read"):
        evaluate(artifact, animals, on_bad_image="skip", progress=False)


def test_what_does_not_fit_is_refused(artifact):
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        evaluate(artifact, "digits", batch_size=0)
    with pytest.raises(ConfigError, match="on_bad_image must be error or skip"):
        evaluate(artifact, "digits", on_bad_image="ignore")
    digits = load_digits("val")
    with pytest.raises(DataError, match="no images"):
        evaluate(artifact, type(digits)("val", digits.images[:0], digits.labels[:0]))


def test_both_ways_agree_on_what_is_sure(artifact):
    confidence = answer(artifact, load_digits("val"), progress=False).probabilities
    artifact.decision = Decision(thresholds=(float(np.median(confidence)) + 1e-7,))
    alone = evaluate(artifact, "digits", batch_size=50, progress=False)
    ranked = evaluate(artifact, "digits", batch_size=50, dist=Distributed(), progress=False)
    assert 0 < alone.coverage < 100
    assert (alone.coverage, alone.accepted_acc1) == (ranked.coverage, ranked.accepted_acc1)
    assert (alone.acc1, alone.loss) == (ranked.acc1, pytest.approx(ranked.loss, rel=1e-6))
