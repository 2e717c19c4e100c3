"""Of what a folder's results are: the network, what was asked of it, the data, and the parts of that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from mobileone.errors import DataError
from mobileone.inference.predictor import Predictor
from mobileone.outside_text import json_text, printable
from mobileone.parts.data_part import DataPart
from mobileone.parts.model_hash import model_hash
from mobileone.parts.row_file import RowFormat, Task
from mobileone.regular_file import parse_json_text, read_json

FORMAT = "mobileone-parts-1"
MANIFEST = "_manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartsManifest:
    """Of what the results in a folder are.

    Attributes:
        task: what was done with the images.
        row_format: of the files.
        model_hash: of the network, as `model_hash` gives it.
        model: the same in words, for people.
        asked: everything else that the results depend on, plain values by name.
        told: what files of vectors say of themselves.
        parts: as `DataPart.to_dict` gives them, in order.
    """

    task: Task
    row_format: RowFormat
    model_hash: str
    model: str
    asked: Mapping[str, Any]
    told: Mapping[str, Any]
    parts: Sequence[Mapping[str, Any]]

    def as_read(self) -> PartsManifest:
        """The same as it is read back: tuples are lists."""
        values = parse_json_text(json_text(self.to_dict()))
        del values["format"]
        return PartsManifest(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"format": FORMAT} | {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def read(cls, folder: Path) -> PartsManifest | None:
        """That of a folder; None where there is none.

        Raises:
            DataError: if it is damaged, or of another version.
        """
        path = folder / MANIFEST
        try:
            values = read_json(path)
            if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
                raise ValueError(f"it is not in the format {FORMAT}")
            manifest = cls(**values)
            if manifest.task not in get_args(Task) or manifest.row_format not in get_args(RowFormat):
                raise ValueError("an unknown task or format")
            names = [part["name"] for part in manifest.parts]
            if not all(isinstance(name, str) and Path(name).name == name for name in names):
                raise ValueError("a part's name is none")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"cannot read {printable(path)}: {error.strerror or error}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{printable(path)} is no manifest of results: {printable(str(error))[:100]}"
            ) from None
        return manifest

    def difference(self, now: PartsManifest) -> str | None:
        """Why results of `now` cannot lie beside these, in words; None if they can."""
        if self.task != now.task:
            return f"it holds results of {self.task}, and this is {now.task}"
        if self.model_hash != now.model_hash:
            return f"it holds results of another model (SHA-256 {self.model_hash[:12]}…, {self.model})"
        if self.row_format != now.row_format:
            return f"its results are {self.row_format}, not {now.row_format}"
        for name in dict.fromkeys((*self.asked, *now.asked)):
            before, after = self.asked.get(name), now.asked.get(name)
            if before != after:
                return f"it was made with {name} {_short(before)}, and now it is {_short(after)}"
        return self._other_data(now)

    def _other_data(self, now: PartsManifest) -> str | None:
        if len(self.parts) != len(now.parts):
            return f"it is of other data: {len(self.parts)} parts then, {len(now.parts)} now"
        for before, after in zip(self.parts, now.parts, strict=True):
            # A shard that is gone has no size; that is told when its turn comes.
            names = ("name", "where", "images", "names_hash", "size_bytes")
            known = [name for name in names if name in before and name in after]
            if changed := [name for name in known if before[name] != after[name]]:
                then, since = before[changed[0]], after[changed[0]]
                return (
                    f"it is of other data: {changed[0]} of {before['name']} was {_short(then)}, and now it "
                    f"is {_short(since)}"
                )
        return None


def manifest_of(
    predictor: Predictor,
    parts: Sequence[DataPart],
    *,
    task: Task,
    row_format: RowFormat,
    asked: Mapping[str, Any],
    told: Mapping[str, Any] | None = None,
) -> PartsManifest:
    """What results of a predictor will be of.

    Args:
        predictor: as it will be used.
        parts: of the data.
        task: what is done.
        row_format: of the files.
        asked: what the results depend on beside the predictor.
        told: what files of vectors say of themselves.

    Raises:
        ConfigError: for a classifier of somebody's own.
    """
    classifier, decision = predictor.classifier, predictor.decision
    spec = {f"input {name}": value for name, value in predictor.input_spec.to_dict().items()}
    session = getattr(classifier, "session", None)
    classes = hashlib.sha256(json_text(list(predictor.classes)).encode()).hexdigest()
    return PartsManifest(
        task=task,
        row_format=row_format,
        model_hash=model_hash(classifier),
        model=str(classifier),
        asked={
            **spec,
            "precision": getattr(classifier, "amp", None) if session is None else session.precision,
            "scaled_decoding": predictor.transform.scaled_decoding,
            "classes": classes,
            "thresholds": predictor.thresholds.tolist() if predictor.task == "multilabel" else None,
            "calibration": None if decision is None else decision.to_dict() | {"evidence": {}},
            **asked,
        },
        told=told or {},
        parts=[part.to_dict() for part in parts],
    )


def _short(value: object) -> str:
    text = printable(str(value))
    return text if len(text) <= 60 else f"{text[:57]}…"
