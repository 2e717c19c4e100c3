"""A teacher that looks once: what it is shown, what is kept, when it looks again, and what is learnt."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mobileone.checkpoint.rotation import Rotation
from mobileone.checkpoint.store import save_model
from mobileone.data.folder import find_images
from mobileone.data.loader import eval_loader
from mobileone.errors import ConfigError, MobileOneError, TrainingError
from mobileone.images.eval_transform import EvalTransform
from mobileone.input_spec import InputSpec
from mobileone.model.create import create_model
from mobileone.reparam.fuse import reparameterize
from mobileone.training.config.objective import Distill, Mix
from mobileone.training.config.train_config import TrainConfig
from mobileone.training.run.fit import fit
from mobileone.training.run.plan import plan
from mobileone.training.watch.callback import Callback
from mobileone.training.watch.records import EpochRecord, StepReport

NAMES = ("light", "other", "dark")
SPEC = InputSpec(size=48, mean=(0.5,) * 3, std=(0.5,) * 3)
LOGITS = "teacher_logits.safetensors"


class StoppedError(Exception):
    """What a power cut is to a test."""


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_steps(self, report: StepReport) -> None:
        if report.step == self.step:
            raise StoppedError


class Losses(Callback):
    def __init__(self) -> None:
        self.found: list[float] = []

    def on_steps(self, report: StepReport) -> None:
        self.found.append(report.loss)

    def on_epoch_end(self, record: EpochRecord) -> None:
        pass


@pytest.fixture
def teacher(config: TrainConfig, randomize) -> nn.Module:  # type: ignore[no-untyped-def]
    model = create_model(config.model, num_classes=3, class_names=NAMES, input_spec=SPEC)
    return randomize(model).eval()


@pytest.fixture
def taught(config: TrainConfig, teacher: nn.Module, tmp_path: Path) -> TrainConfig:
    path = save_model(teacher, tmp_path / "teacher.safetensors")
    return dataclasses.replace(config, distill=Distill(teacher=str(path), views="plain", temperature=2.0))


def seen(config: TrainConfig, teacher: nn.Module, spec: InputSpec = SPEC) -> tuple[torch.Tensor, ...]:
    """The teacher's logits, dark and light, of all training images, and of their mirror images."""
    source = find_images(config.data, split="train")
    images = torch.cat([b.images for b in eval_loader(source, EvalTransform.from_spec(spec), batch_size=7)])
    fused = reparameterize(teacher)
    views = [(view / 255 - 0.5) / 0.5 for view in (images, images.flip(-1))]
    with torch.no_grad():
        return tuple(fused(view)[:, [2, 0]] for view in views)


def test_the_logits_are_of_the_plain_views_and_the_loss_is_of_them(
    taught: TrainConfig, teacher: nn.Module, tmp_path: Path
) -> None:
    fit(taught, run_dir=tmp_path / "run", progress=False)
    kept = load_file(tmp_path / "run" / LOGITS)["logits"]
    plain, mirrored = seen(taught, teacher)
    torch.testing.assert_close(kept, plain, rtol=1e-3, atol=1e-3)
    log = (tmp_path / "run" / "train.log").read_text()
    assert "the teacher looked at 24 images once (plain views of 48 px, crop 0.875, bilinear)" in log
    both = taught.with_values({"distill.views": "mirrored", "distill.size": 40})
    fit(both, run_dir=tmp_path / "both", progress=False)
    plain, mirrored = seen(taught, teacher, dataclasses.replace(SPEC, size=40))
    kept = load_file(tmp_path / "both" / LOGITS)["logits"]
    torch.testing.assert_close(kept, (plain + mirrored) / 2, rtol=1e-3, atol=1e-3)


def test_what_is_kept_is_what_is_learnt_whatever_the_order(
    taught: TrainConfig, teacher: nn.Module, tmp_path: Path
) -> None:
    """A teacher that says the label, in a loss of nothing else, is a loss of labels."""
    source = find_images(taught.data, split="train")

    class Knowing(nn.Module):
        class_names = ("light", "dark")
        input_spec = SPEC

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            light = (x.mean((1, 2, 3)) > 0).float()
            return 60 * torch.stack([light, 1 - light], dim=1)

    told, plain = Losses(), Losses()
    options = {"objective.label_smoothing": 0.0, "compute.accumulate": 2}
    config = taught.with_values(
        {"distill.teacher": None, "distill.weight": 1.0, "distill.temperature": 1.0, **options}
    )
    fit(config, run_dir=tmp_path / "told", teacher=Knowing(), callbacks=[told], progress=False)
    kept = load_file(tmp_path / "told" / LOGITS)["logits"]
    assert kept.argmax(1).tolist() == source.labels.tolist()
    assert "is the label in 100.0 %" in (tmp_path / "told" / "train.log").read_text()
    labels = config.with_values({"distill.views": "same", "distill.weight": 0.5})
    fit(labels, run_dir=tmp_path / "plain", callbacks=[plain], progress=False)
    assert told.found == pytest.approx(plain.found, rel=1e-3)


def test_features_are_kept_where_they_are_wanted(
    taught: TrainConfig, teacher: nn.Module, tmp_path: Path
) -> None:
    fit(taught, run_dir=tmp_path / "run", progress=False)
    wanted = taught.with_values({"distill.features": 1.0, "distill.views": "mirrored"})
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / LOGITS).write_bytes((tmp_path / "run" / LOGITS).read_bytes())  # has none: made anew
    fit(wanted, run_dir=fresh, progress=False)
    kept = load_file(fresh / LOGITS)
    assert kept["features"].shape == (24, teacher.num_features)
    # The head is linear, so it may look at the mean of both views.
    logits = teacher.get_classifier()(kept["features"])[:, [2, 0]].detach()
    torch.testing.assert_close(kept["logits"], logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mix", [Mix(), Mix(mixup=0.5, cutmix=1.0)])
@pytest.mark.parametrize("features", [0.0, 2.0])
def test_a_run_that_was_stopped_takes_what_was_said(
    taught: TrainConfig, tmp_path: Path, mix: Mix, features: float
) -> None:
    taught = dataclasses.replace(taught, mix=mix).with_values(
        {"saving.checkpoint_every": "1steps", "distill.features": features}
    )
    fit(taught, run_dir=tmp_path / "whole", progress=False)
    with pytest.raises(StoppedError):
        fit(taught, run_dir=tmp_path / "run", callbacks=[StopAt(4)], progress=False)
    before = (tmp_path / "run" / LOGITS).stat().st_mtime_ns
    fit(taught, run_dir=tmp_path / "run", resume=True, progress=False)
    assert (tmp_path / "run" / LOGITS).stat().st_mtime_ns == before
    assert f"the teacher's logits are those of {LOGITS}" in (tmp_path / "run" / "train.log").read_text()
    states = [Rotation(tmp_path / name / "checkpoints").newest() for name in ("whole", "run")]
    networks = [state.state["trainer"]["network"] for state in states if state is not None]
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


@pytest.mark.slow
@pytest.mark.parametrize("features", [0.0, 10.0])
def test_two_ranks_learn_from_the_lessons_of_one(
    taught: TrainConfig,
    tmp_path: Path,
    fit_on_two_ranks: Callable[[TrainConfig], Path],
    features: float,
) -> None:
    """Features are compared within a rank's part of the batch, which are other pairs.

    So the losses are near, not equal, and how far the second epoch's are apart depends on the processor.
    """
    taught = taught.with_values({"distill.features": features})
    alone = fit(taught, run_dir=tmp_path / "alone", progress=False)
    both = fit_on_two_ranks(taught)
    wanted, kept = load_file(tmp_path / "alone" / LOGITS), load_file(both / LOGITS)
    assert wanted.keys() == kept.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(kept[name], value, rtol=1e-4, atol=1e-5)
    with (both / "metrics.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    bounds = (0.1, 0.25) if features else (1e-3, 1e-3)
    for loss, record, within in zip(losses, alone.records, bounds, strict=True):
        assert loss == pytest.approx(record.train_loss, rel=within)


def test_another_teacher_is_no_way_to_go_on_and_a_damaged_file_is_made_anew(
    taught: TrainConfig, teacher: nn.Module, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(StoppedError):
        fit(
            taught.with_values({"saving.checkpoint_every": "1steps"}),
            run_dir=run,
            callbacks=[StopAt(4)],
            progress=False,
        )
    good, logits = (run / LOGITS).read_bytes(), load_file(run / LOGITS)["logits"].clone()
    (run / LOGITS).write_bytes(good[:-5])
    with pytest.raises(StoppedError):
        fit(None, run_dir=run, resume=True, callbacks=[StopAt(5)], progress=False)
    assert torch.equal(load_file(run / LOGITS)["logits"], logits)
    assert "the teacher looks again" in (run / "train.log").read_text()
    with torch.no_grad():
        teacher.get_classifier().bias += 1
    save_model(teacher, tmp_path / "teacher.safetensors")
    with pytest.raises(TrainingError, match=r"teacher_logits.safetensors is of another teacher than"):
        fit(None, run_dir=run, resume=True, progress=False)
    # A new run takes what fits alone.
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / LOGITS).write_bytes(good)
    fit(taught, run_dir=fresh, progress=False)
    assert not torch.equal(load_file(fresh / LOGITS)["logits"], logits)
    assert "the teacher looked at 24 images" in (fresh / "train.log").read_text()


def test_unreadable_images_are_left_out_or_end_it_and_nothing_is_kept(
    taught: TrainConfig, tmp_path: Path
) -> None:
    (Path(taught.data) / "train" / "dark" / "03.jpg").write_bytes(b"no picture")
    with pytest.raises(MobileOneError, match=r"03\.jpg"):
        fit(taught, run_dir=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / LOGITS).exists()
    skipping = taught.with_values({"loading.on_bad_image": "skip"})
    result = fit(skipping, run_dir=tmp_path / "skipping", progress=False)
    assert [Path(name).name for name in result.skipped] == ["03.jpg"]
    kept = load_file(tmp_path / "skipping" / LOGITS)["logits"]
    assert kept.isnan().any(1).nonzero().flatten().tolist() == [3]


def test_logits_that_are_no_numbers_are_refused(taught: TrainConfig, tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))[:, :2] / 0

    config = taught.with_values({"distill.teacher": None})
    with pytest.raises(TrainingError, match="a logit or feature of the teacher is NaN or infinite"):
        fit(config, run_dir=tmp_path / "run", teacher=Broken(), progress=False)
    with pytest.raises(ConfigError, match=r"distill\.views=plain needs a teacher"):
        fit(config, run_dir=tmp_path / "none", progress=False)


@pytest.mark.parametrize(("field", "value"), [("features", 3.0), ("weight", 0.9), ("temperature", 2.0)])
def test_what_is_said_of_a_teacher_needs_one(
    config: TrainConfig, tmp_path: Path, field: str, value: float
) -> None:
    config = config.with_values({f"distill.{field}": value})
    with pytest.raises(ConfigError, match=rf"distill\.{field}={value} needs a teacher; set distill.teacher"):
        fit(config, run_dir=tmp_path / "none", progress=False)


def test_a_plan_needs_no_logits(taught: TrainConfig) -> None:
    assert plan(taught).steps_per_epoch == 3


def test_two_ranks_share_the_work_and_all_have_all(
    taught: TrainConfig, teacher: nn.Module, fit_on_two_ranks: Callable[[TrainConfig], Path], tmp_path: Path
) -> None:
    alone = fit(taught, run_dir=tmp_path / "one", progress=False)
    run_dir = fit_on_two_ranks(taught)
    one, two = (load_file(tmp_path / name / LOGITS)["logits"] for name in ("one", "two"))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    losses = [float(line.split(",")[2]) for line in (run_dir / "metrics.csv").read_text().splitlines()[1:]]
    # BatchNorm sees half the images on each rank.
    assert losses == pytest.approx([record.train_loss for record in alone.records], rel=0.3)
