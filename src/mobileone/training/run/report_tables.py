"""Tables of a run's report: classes, labels, mistakes, epochs and settings, as HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mobileone.evaluation.answers import Answers
from mobileone.evaluation.confusion import class_results, confused_pairs
from mobileone.evaluation.label_answers import LabelAnswers
from mobileone.evaluation.metric_names import CLASS_METRICS, kind_and_class
from mobileone.imagenet import human_name
from mobileone.report.page import Cell, sortable_table

MAX_PAIRS = 100


def pairs_table(answers: Answers) -> str:
    """The commonest mistakes."""
    body: list[list[Cell]] = []
    for pair in confused_pairs(answers.confusion(), limit=MAX_PAIRS):
        label, seen = (human_name(answers.classes[index]) for index in (pair.label, pair.predicted))
        share = 100 * pair.times / pair.num_images
        body.append(
            [
                (label, label),
                (seen, seen),
                (str(pair.times), pair.times),
                (str(pair.num_images), pair.num_images),
                (f"{share:.1f}", share),
            ]
        )
    header = ["class", "seen as", "images", "of", "% of the class"]
    if not body:
        return "<p>None: every image was right.</p>"
    return sortable_table(header, body, text=("class", "seen as"))


def classes_table(answers: Answers) -> str:
    """How every class fared."""
    body: list[list[Cell]] = []
    for result in class_results(answers.confusion()):
        name = human_name(answers.classes[result.label])
        other = "" if result.mistaken_for is None else human_name(answers.classes[result.mistaken_for])
        body.append(
            [
                (name, name),
                (str(result.num_images), result.num_images),
                _percent(result.recall),
                _percent(result.precision),
                _percent(result.f1),
                (other, other),
                (str(result.num_mistaken), result.num_mistaken),
            ]
        )
    header = ["class", "images", "recall, %", "precision, %", "F1, %", "mostly taken for", "images so"]
    return sortable_table(header, body, text=("class", "mostly taken for"))


def labels_table(answers: LabelAnswers) -> str:
    """How every label fared."""
    body: list[list[Cell]] = []
    for result in answers.results():
        name = human_name(answers.classes[result.label])
        body.append(
            [
                (name, name),
                (str(result.num_images), result.num_images),
                _percent(result.ap),
                _percent(result.f1),
                _percent(result.precision),
                _percent(result.recall),
                (str(result.num_given - result.num_right), result.num_given - result.num_right),
                (str(result.num_images - result.num_right), result.num_images - result.num_right),
            ]
        )
    header = ["label", "images", "AP, %", "F1, %", "precision, %", "recall, %", "given wrongly", "missed"]
    return sortable_table(header, body, text=("label",))


def epochs_table(rows: Sequence[Mapping[str, str]]) -> str:
    """The lines of metrics.csv, without the columns of single classes."""
    kinds = {kind for names in CLASS_METRICS.values() for kind in names}
    columns = [name for name in rows[0] if kind_and_class(name)[0] not in kinds]
    body: list[list[Cell]] = [
        [(row[name] or "–", float(row[name]) if row[name] else None) for name in columns] for row in rows
    ]
    return sortable_table(columns, body, text=())


def settings_table(values: Mapping[str, Any]) -> str:
    """A configuration, a field a line."""
    body: list[list[Cell]] = []
    for name, value in values.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        body.append([(name, name), (shown, shown)])
    return sortable_table(["field", "value"], body, text=("field", "value"))


def _percent(value: float | None) -> Cell:
    return ("–" if value is None else f"{value:.1f}", value)
