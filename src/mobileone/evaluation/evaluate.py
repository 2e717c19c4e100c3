"""Evaluate a network on labelled images: every image once, whatever the number of ranks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobileone.backends.artifact import Artifact
from mobileone.class_list import guessed_order
from mobileone.data.open import open_data, require_task
from mobileone.data.source import ImageSource, notes_of
from mobileone.data.subset import leave_out
from mobileone.decision import Decision
from mobileone.errors import DataError, InferenceError
from mobileone.evaluation.artifact_accuracy import artifact_accuracy
from mobileone.evaluation.class_metrics import NUM_SUMS, metrics_of_counts
from mobileone.evaluation.label_metrics import label_loss, metrics_of_labels, require_scikit_learn
from mobileone.evaluation.metrics import EvalResult, in_topk
from mobileone.heap import kept_heap
from mobileone.imagenet import resolve_classes
from mobileone.images.eval_transform import EvalTransform
from mobileone.inference.classifier import Classifier, classifying, decision_of
from mobileone.progress_bar import progress_bar
from mobileone.task import task_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mobileone.data.loader import BadImage, Batch, OnBadImage
    from mobileone.model.network import MobileOne
    from mobileone.precision import AmpDtype
    from mobileone.ranks.distributed import Distributed


def evaluate(
    model: MobileOne | Classifier,
    data: str | Path | ImageSource,
    *,
    split: Literal["train", "val"] = "val",
    exclude: str | Path | None = None,
    batch_size: int = 64,
    num_workers: int | None = 0,
    device: str | torch.device | None = None,
    on_bad_image: OnBadImage = "error",
    dist: Distributed | None = None,
    amp: AmpDtype | None = None,
    progress: bool = True,
    on_dead_worker: Callable[[str], None] | None = None,
) -> EvalResult:
    """How right a network is, with its own input spec and class names: see `EvalResult`.

    Of a calibrated one (`mobileone.calibrate`) those of its calibrated probabilities, and how many of its
    answers are sure, and right.

    Args:
        model: a network in either form, put into eval mode meanwhile; or any `Classifier`, an `Artifact` say.
        data: `"digits"`, a data folder, a list of images, shards, or an `ImageSource` of your own.
        split: `"val"` (a folder without train/ and val/ is taken as it is) or `"train"`.
        exclude: a file that names images to leave out, as `mobileone check-labels` writes it.
        batch_size: images at a time on a rank; does not change the result beyond rounding.
        num_workers: loader processes a rank, for an artifact alone threads; None is the rank's share of the
            cores, 8 at most.
        device: where to compute; a network is moved there. None is where it is.
        on_bad_image: `"error"`, or `"skip"` to leave unreadable images out and list them.
        dist: the ranks to share the images with; every rank gets the whole result.
        amp: mixed precision, or None.
        progress: whether to show a bar on stderr.
        on_dead_worker: told of a loader process that died and was replaced; None makes it an error.

    Raises:
        DataError: if the data's classes are not the model's, or no image is readable.
        InferenceError: if a logit is NaN or infinite.
        BadImageError: on an unreadable image under `"error"`.
        MissingExtraError: with several labels an image, without scikit-learn.

    >>> from mobileone import create_model
    >>> model = create_model("mobileone_s0", num_classes=10, form="inference")
    >>> model.set_input_size(32)
    >>> evaluate(model, "digits", progress=False).num_images
    360
    """
    started = time.perf_counter()
    if not isinstance(model, Artifact):
        from mobileone.model.wrapped import unwrap

        model = unwrap(model)
    classes = resolve_classes(model.num_classes, model.class_names)
    task = task_of(model)
    if task == "multilabel":
        require_scikit_learn()
    source: ImageSource
    if isinstance(data, str | Path):
        source = open_data(data, split=split, classes=classes, task=task)
    else:
        source = data
    if exclude is not None:
        (source,) = leave_out(exclude, source)
    notes = notes_of(source)
    if classes is None and isinstance(data, str | Path) and data != "digits":
        notes += (guessed_order(source.classes),)
    if isinstance(model, Artifact) and dist is None:
        check_classes(model, source)
        result = artifact_accuracy(
            model,
            source,
            batch_size=batch_size,
            threads=num_workers,
            on_bad_image=on_bad_image,
            progress=progress,
        )
        return replace(result, notes=notes)
    from mobileone.ranks.distributed import Distributed

    dist = dist or Distributed()
    decision = decision_of(model)
    parts: list[Tensor] = []
    bad: list[BadImage] = []
    for batch, logits in classified(
        model,
        source,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        on_bad_image=on_bad_image,
        dist=dist,
        amp=amp,
        hidden=not (progress and dist.is_main),
        on_dead_worker=on_dead_worker,
    ):
        bad += batch.bad
        if len(batch):
            is_single = task == "singlelabel"
            parts.append(
                _batch_sums(logits, batch.labels, decision) if is_single else _batch_rows(logits, batch)
            )
    skipped = sorted(image.path for part in dist.gather(bad) for image in part)
    classes = tuple(source.classes)
    if task == "singlelabel":
        result = _total(parts, classes, skipped, dist, decides=decision is not None)
    else:
        result = _total_of_labels(parts, classes, skipped, dist, decision)
    return replace(result, seconds=time.perf_counter() - started, notes=notes)


def classified(
    model: MobileOne | Classifier,
    source: ImageSource,
    *,
    batch_size: int,
    num_workers: int | None,
    on_bad_image: OnBadImage,
    hidden: bool,
    device: str | torch.device | None = None,
    dist: Distributed | None = None,
    amp: AmpDtype | None = None,
    on_dead_worker: Callable[[str], None] | None = None,
) -> Iterator[tuple[Batch, Tensor]]:
    """Every batch of a set, or of this rank's share, with its logits (N, num_classes) where they come out.

    The arguments and errors are those of `evaluate`; `hidden` shows no bar.
    """
    import torch

    from mobileone.data.loader import eval_loader
    from mobileone.ranks.distributed import Distributed

    dist = dist or Distributed()
    with kept_heap(), classifying(model, device=device, amp=amp) as classifier:
        check_classes(classifier, source)
        loader = eval_loader(
            source,
            EvalTransform.from_spec(classifier.input_spec),
            batch_size=batch_size,
            rank=dist.rank,
            world_size=dist.world_size,
            num_workers=num_workers,
            on_bad_image=on_bad_image,
            pin_memory=classifier.device.type == "cuda",
            on_dead_worker=on_dead_worker,
        )
        for batch in progress_bar(loader, title="evaluating", unit="batch", hidden=hidden):
            if not len(batch):
                yield batch, torch.empty(0, classifier.num_classes, device=classifier.device)
                continue
            with torch.inference_mode():
                logits = classifier.logits(batch.images)
            yield batch, logits


def _batch_sums(logits: Tensor, labels: Tensor, decision: Decision | None) -> Tensor:
    """What `metrics_of_counts` takes, float32 (6 + 3·K,), on the device.

    Waits for nothing there, unless there is a decision.
    """
    import torch
    from torch.nn import functional as F

    labels = labels.to(logits.device, non_blocking=True)
    sure = torch.zeros(len(labels), dtype=torch.bool, device=logits.device)
    if decision is not None:
        rows = logits.float().cpu().numpy()
        sure = torch.from_numpy(decision.sure(rows)).to(logits.device)
        logits = torch.from_numpy(decision.calibrated(rows)).to(logits.device)
    loss = F.cross_entropy(logits.float(), labels, reduction="sum")
    is_right = in_topk(logits, labels)
    accepted = torch.stack([sure.sum(), (sure & is_right[0]).sum()])
    right = is_right.to(loss.dtype)
    one = torch.ones_like(right[0])
    empty = loss.new_zeros(logits.shape[1])
    counts = [
        empty.scatter_add(0, chosen, values)
        for chosen, values in ((labels, one), (labels, right[0]), (logits.argmax(1), one))
    ]
    return torch.cat([loss.new_full((1,), len(labels)), right.sum(1), loss[None], accepted, *counts])


def _total(
    parts: list[Tensor],
    classes: tuple[str, ...],
    skipped: list[str],
    dist: Distributed,
    *,
    decides: bool,
) -> EvalResult:
    import torch

    # float32 counts exactly to 2²⁴, far above a batch; the total is summed in float64.
    width = NUM_SUMS + 3 * len(classes)
    own = torch.stack(parts).cpu().double().sum(0) if parts else torch.zeros(width, dtype=torch.float64)
    sums = dist.reduce_sum(own).numpy()
    num_images, loss = int(sums[0]), float(sums[3])
    _check_total(num_images, loss, skipped)
    return EvalResult(
        num_images=num_images,
        loss=loss / num_images,
        metrics=metrics_of_counts(sums, classes),
        skipped=tuple(skipped),
        coverage=100 * float(sums[4]) / num_images if decides else None,
        accepted_acc1=100 * float(sums[5] / sums[4]) if sums[4] else None,
    )


def _batch_rows(logits: Tensor, batch: Batch) -> Tensor:
    """Place in the set, logits and labels of every image, float64 (N, 1 + 2·K), on the CPU."""
    import torch

    columns = (batch.indices[:, None], logits.float().cpu(), batch.labels)
    return torch.cat([each.double() for each in columns], dim=1)


def _total_of_labels(
    parts: list[Tensor],
    classes: tuple[str, ...],
    skipped: list[str],
    dist: Distributed,
    decision: Decision | None,
) -> EvalResult:
    rows = np.concatenate(
        [
            np.empty((0, 1 + 2 * len(classes))),
            *(part.numpy() for of_rank in dist.gather(parts) for part in of_rank),
        ]
    )
    rows = rows[np.argsort(rows[:, 0], kind="stable")]  # whatever rank had them, sums come out the same
    logits, labels = rows[:, 1 : 1 + len(classes)].astype(np.float32), rows[:, 1 + len(classes) :] > 0.5
    loss = label_loss(labels, logits, decision=decision) if len(rows) else 0.0
    _check_total(len(rows), loss, skipped)
    return EvalResult(
        num_images=len(rows),
        loss=loss,
        metrics=metrics_of_labels(labels, logits, classes, decision=decision),
        skipped=tuple(skipped),
    )


def _check_total(num_images: int, loss: float, skipped: Sequence[str]) -> None:
    """Refuse what is no result.

    Raises:
        InferenceError: if a logit was NaN or infinite.
        DataError: if no image could be read.
    """
    if not math.isfinite(loss):
        raise InferenceError(
            f"the loss became {loss}: the network's logits are NaN or infinite; its weights, or the "
            "precision that it computes in, are no use"
        )
    if not num_images:
        raise DataError(f"no image could be read, {len(skipped)} are damaged; the first is {skipped[:1]}")


def check_classes(model: Classifier, source: ImageSource) -> None:
    """Refuse labels that mean something else to the model, before the first batch.

    Raises:
        DataError: if they do, or there are no images.
    """
    theirs = tuple(source.classes)
    classes = resolve_classes(model.num_classes, model.class_names)
    if classes is not None and classes != theirs:
        raise DataError(
            f"the model's {len(classes)} classes ({classes[0]} … {classes[-1]}) are not the data's "
            f"{len(theirs)} ({theirs[0]} … {theirs[-1]}); use data of the model's classes, or finetune on it"
        )
    if len(theirs) != model.num_classes:
        raise DataError(
            f"the model has {model.num_classes} outputs, the data {len(theirs)} classes; "
            "use a model of these classes, or finetune on the data"
        )
    if not len(source):
        raise DataError("there are no images to evaluate on")
    require_task(source, task_of(model), name="the data")
    if source.labels.ndim == 2:
        return
    highest, lowest = int(np.max(source.labels)), int(np.min(source.labels))
    if lowest < 0 or highest >= model.num_classes:
        raise DataError(
            f"labels must be in 0..{model.num_classes - 1}, the data has {lowest if lowest < 0 else highest}"
        )
