"""Figures of a test from the rows of its parts: counted over all images at once, as one process counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobileone.decision import Decision
from mobileone.errors import DataError
from mobileone.evaluation.class_metrics import NUM_SUMS, metrics_of_counts
from mobileone.evaluation.label_metrics import label_loss, metrics_of_labels
from mobileone.evaluation.metrics import EvalResult
from mobileone.parts.row_file import Row

TOP = 5


class Figures:
    """Takes rows, and gives the result of all.

    Args:
        classes: names of the classes that labels index into.
        decision: of the network, for those with several labels an image.
    """

    def __init__(self, classes: Sequence[str], *, decision: Decision | None = None) -> None:
        self.classes, self.decision = tuple(classes), decision
        self._counts = np.zeros((3, len(self.classes)))  # images, right ones, predictions
        self._right = self._in_top = self._sure = self._sure_right = self._number = 0
        self._losses: list[float] = []
        self._decides = False
        self._skipped: list[str] = []
        self._labels: list[NDArray[np.bool_]] = []
        self._logits: list[NDArray[np.float32]] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Count rows of `judged_rows`.

        Raises:
            DataError: if they are none.
        """
        self._skipped += [row["image"] for row in rows if row["error"] is not None]
        good = [row for row in rows if row["error"] is None]
        try:
            if good and good[0].get("logits") is not None:
                self._add_labels(good)
            elif good:
                self._add_outcomes(good)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(f"the results of a test lack something: {error}") from None

    def result(self) -> EvalResult:
        """Of all rows.

        Raises:
            DataError: if no image could be read.
            MissingExtraError: with several labels an image, without scikit-learn.
        """
        if self._labels:
            return self._result_of_labels()
        if not self._number:
            raise DataError(f"no image could be read, {len(self._skipped)} are damaged")
        loss = math.fsum(self._losses)
        sums = [self._number, self._right, self._in_top, loss, self._sure, self._sure_right]
        assert len(sums) == NUM_SUMS
        return EvalResult(
            num_images=self._number,
            loss=loss / self._number,
            metrics=metrics_of_counts(np.concatenate([sums, self._counts.ravel()]), self.classes),
            skipped=tuple(sorted(self._skipped)),
            coverage=100 * self._sure / self._number if self._decides else None,
            accepted_acc1=100 * (self._sure_right / self._sure) if self._sure else None,
        )

    def _add_outcomes(self, rows: Sequence[Row]) -> None:
        labels, predicted, places = (
            np.array([row[name] for row in rows], np.int64) for name in ("label", "predicted", "place")
        )
        sure, right = np.array([bool(row["sure"]) for row in rows]), places == 0
        self._decides = self._decides or rows[0]["sure"] is not None
        for count, values in zip(self._counts, (labels, labels[right], predicted), strict=True):
            count += np.bincount(values, minlength=len(self.classes))
        self._number += len(rows)
        self._right += int(right.sum())
        self._in_top += int((places < min(TOP, len(self.classes))).sum())
        self._sure += int(sure.sum())
        self._sure_right += int((sure & right).sum())
        # Summed exactly, part by part and then over the parts: no order of them gives another figure.
        self._losses.append(math.fsum(row["loss"] for row in rows))

    def _add_labels(self, rows: Sequence[Row]) -> None:
        known = np.zeros((len(rows), len(self.classes)), bool)
        for place, row in enumerate(rows):
            known[place, row["labels"]] = True
        self._labels.append(known)
        self._logits.append(np.array([row["logits"] for row in rows], np.float32))

    def _result_of_labels(self) -> EvalResult:
        known, logits = np.concatenate(self._labels), np.concatenate(self._logits)
        return EvalResult(
            num_images=len(known),
            loss=label_loss(known, logits, decision=self.decision),
            metrics=metrics_of_labels(known, logits, self.classes, decision=self.decision),
            skipped=tuple(sorted(self._skipped)),
        )
