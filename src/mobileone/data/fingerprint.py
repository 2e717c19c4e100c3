"""Which images a set holds, in a few bytes: to notice later that it has changed, and to say how."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobileone.data.source import ImageSource, Labels, labels_task
from mobileone.outside_text import printable

MAX_NAMED = 3
NO_LABEL = ""
"""Stands for the images of a multi-label set that have no label; no class is called so."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Number and names of a set's images, class by class.

    The names are those below the set's own folder, so a set that was moved, or packed into shards, has the
    same fingerprint. What is in the files is not looked at.

    Attributes:
        counts: images of every class, by its name, in the order of the labels.
        hashes: of their names in order, hexadecimal, by class.
    """

    counts: Mapping[str, int]
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, source: ImageSource) -> Fingerprint:
        """That of a set; of one without file names, the classes and their order alone.

        >>> from mobileone.data.open import open_data
        >>> Fingerprint.of(open_data("digits", split="val")).counts["0"]
        36
        """
        names = getattr(source, "files", None)
        counts = [0] * len(source.classes)
        hashes = [hashlib.sha256() for _ in source.classes]
        classes = tuple(source.classes)
        if labels_task(source.labels) == "multilabel":  # an image counts for each of its labels, or for none
            classes, counts, hashes = (*classes, NO_LABEL), [*counts, 0], [*hashes, hashlib.sha256()]
        labels = source.labels
        for index in range(len(labels)):
            name = str(index) if names is None else printable(names[index])
            for label in _labels_of(labels, index):
                counts[label] += 1
                hashes[label].update(f"{name}\n".encode())
        digests = [digest.hexdigest()[:16] for digest in hashes]
        return cls(dict(zip(classes, counts, strict=True)), dict(zip(classes, digests, strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: [count, self.hashes[name]] for name, count in self.counts.items()}

    @classmethod
    def from_dict(cls, values: object) -> Fingerprint:
        """The way back.

        Raises:
            ValueError: if the values are no fingerprint.
        """
        if not isinstance(values, Mapping):
            raise ValueError("it has no classes")
        for pair in values.values():
            if not (isinstance(pair, list) and list(map(type, pair)) == [int, str]):
                raise ValueError("a class in it has no number and hash of images")
        return cls(
            {name: pair[0] for name, pair in values.items()}, {name: pair[1] for name, pair in values.items()}
        )

    def changes(self, now: Fingerprint) -> str | None:
        """What is different now, in words; None if nothing.

        >>> before = Fingerprint({"cat": 2, "dog": 2}, {"cat": "a", "dog": "b"})
        >>> before.changes(Fingerprint({"cat": 2, "dog": 1}, {"cat": "a", "dog": "c"}))
        '3 images now, 4 then (dog: 1 now, 2 then)'
        """
        if list(self.counts) != list(now.counts):
            return f"{len(now.counts)} classes now, {len(self.counts)} then, or others"
        changed = [name for name in self.counts if self.hashes[name] != now.hashes[name]]
        if not changed:
            return None
        words = [self._class_change(name, now) for name in changed[:MAX_NAMED]]
        more = [f"and {len(changed) - MAX_NAMED} classes more"] if len(changed) > MAX_NAMED else []
        totals = f"{sum(now.counts.values())} images now, {sum(self.counts.values())} then"
        return f"{totals} ({', '.join(words + more)})"

    def _class_change(self, name: str, now: Fingerprint) -> str:
        shown = printable(name)
        if now.counts[name] == self.counts[name]:
            return f"{shown}: as many, but others"
        return f"{shown}: {now.counts[name]} now, {self.counts[name]} then"


def _labels_of(labels: Labels, index: int) -> list[int]:
    if labels.ndim == 1:
        return [int(labels[index])]
    found: list[int] = np.flatnonzero(labels[index]).tolist()
    return found or [-1]
